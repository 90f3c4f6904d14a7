#pragma once

#include <vector>

#include "core/attention.h"
#include "core/variant.h"
#include "experiments/judge/row_sample.h"

namespace longattn {

/// What is learnt from one query row i of one head: o = W V of the variant's definition, f of full
/// attention with weights P, both in double.
struct RowJudgement {
  bool pinned = false;
  Index head = 0;
  // forward against the definition
  double ratio = 0, resolution = 0;  ///< worst |forward - o| / tolerance; |tolerance| / |o|
  // squared Euclidean norms over the value dimension
  double error2 = 0, full2 = 0;  ///< o - f; f
  double floor2 = 0;             ///< f evaluated plainly in float32, - f
  double mean2 = 0;              ///< the mean of the values of all visible keys, - f
  double oracle2 = 0;            ///< restricted rows: softmax over as many keys as the variant
                                 ///< weighs, those with the largest P, - f
  double own_error2 = 0, own_full2 = 0;  ///< against full attention over keys of its own making
  double max_abs = 0;                    ///< largest |o_c - f_c|
  // distributions; of rows that see a key
  double visible = 0;             ///< 1: sees a key; else 0
  double lost = 0;                ///< sum of P over keys that it gives no weight
  double entropy = 0;             ///< -sum P log P, nats
  bool uncovered = false;         ///< sees a key and weighs none; the two below leave it out
  double total_variation = 0;     ///< 1/2 sum |W - P|
  double kl_divergence = 0;       ///< sum W log(W / P), nats
  double top_found = 0, top = 0;  ///< of the `top` = min(16, visible) keys with the largest P, how
                                  ///< many it weighs
};

/// The keys that top_found looks at, per row.
constexpr Index kTopKeys = 16;

/// Judges the rows of one chunk; `own` is the variant's definition for its (batch entry, head), and
/// `output` what forward wrote. O(rows * key_len * head_dim) time, O(rows * key_len) memory.
std::vector<RowJudgement> judge_rows(const Attention& attention, const Traits& traits,
                                     const Inputs& inputs, const Definition& own,
                                     const RowChunk& chunk, const TensorView& output);

}  // namespace longattn

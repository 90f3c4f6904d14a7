#pragma once

#include <cstdint>
#include <string>

#include "core/attention.h"
#include "core/variant.h"
#include "experiments/cell.h"

namespace longattn {

/// How a variant's outputs are judged, on query rows drawn without replacement by `seed` from every
/// (batch entry, head) alike.
struct JudgeSettings {
  Index rows = 256;
  std::uint64_t seed = 1;
};

/// Bytes that judging and pictures take at most, beside what the variant's forward pass takes: some
/// matrices of [8, key_len] doubles per thread (the definition's weights and magnitudes, those of
/// full attention, float32 scores, temporaries), and what preparing definitions may need.
double judging_bytes(const Problem& problem, int threads);

/// Fills the error fields of `result`, and its status and reason when it is not ok:
///
///   implementation_ratio  max |forward - W V| / tolerance over the rows (core/tolerance.h); above
///                         1 the status is nonconforming
///   gate_resolution       worst row |tolerance| / |W V|
///   relative_error        sqrt(sum_i |o_i - f_i|^2 / sum_i |f_i|^2), o = W V of the variant's
///                         definition and f of full attention, both in double; 95 % bootstrap
///                         interval over rows
///   own_relative_error    the same with f of full attention over the keys that the variant makes
///   for
///                         itself (Reformer's shared_qk); empty where it makes none
///   relative_error_floor  the same for f evaluated plainly in float32; with bfloat16 storage,
///                         with probabilities rounded to it
///   row_error_median      median of |o_i - f_i| / |f_i|, bootstrap interval; row_error_worst its
///                         largest; rows with f_i = 0 are left out
///   max_abs_error         largest |o_ic - f_ic|
///   captured_mass         mean over rows of full attention's mass on the keys that the variant
///                         weighs, bootstrap interval; only for restricted or stochastic rows; rows
///                         without a visible key are left out
///
/// The whole output is looked through: one element that is not finite gives status nan, and the
/// reason says whether the definition is finite there. Full attention's definition is that of the
/// Problem: its mask and bias, nothing else. Time O(rows * key_len * head_dim); memory O(threads *
/// key_len). The numbers do not depend on the number of threads.
void judge_errors(const Attention& attention, const Traits& traits, const Inputs& inputs,
                  const JudgeSettings& settings, Context& context, CellResult& result);

}  // namespace longattn

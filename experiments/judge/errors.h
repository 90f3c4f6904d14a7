#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "core/attention.h"
#include "core/variant.h"
#include "experiments/cell.h"
#include "experiments/judge/row_judgement.h"

namespace longattn {

/// The query rows that a variant is judged on (row_sample.h), drawn by `seed`.
struct JudgeSettings {
  Index rows = 256;
  std::uint64_t seed = 1;
};

/// Below so many rows an interval of one head's error promises more than it holds.
inline constexpr Index kFewestHeadRows = 32;

/// The same variant with another seed, for those that draw at random.
using Reseeded = std::function<std::unique_ptr<const Attention>(Index n)>;
/// What is judged: `output` is what forward gave for these inputs.
struct Judged {
  const Attention& attention;
  Traits traits;
  const Inputs& inputs;
  TensorView output;
};

/// Bytes that judging and pictures take at most, beside what the variant's forward pass takes: some
/// matrices of [8, key_len] doubles per thread (the definition's weights and magnitudes, those of
/// full attention, the oracle's and the mean's, float32 scores, temporaries), and what preparing
/// definitions may need.
double judging_bytes(const Problem& problem, int threads);

/// Fills the error fields of `result` that are told by its rows, and its status and reason if they
/// do not conform; as judge_errors says.
void summarise_rows(const std::vector<RowJudgement>& judged, const Problem& problem,
                    const Traits& traits, std::uint64_t seed, CellResult& result);

/// Fills the error fields of `result` (cell.h gives each a line), and its status and reason when it
/// is not ok. With o_i = (W V)_i of the variant's definition and f_i of full attention, in double:
///
///   implementation_ratio   max |forward - o| / tolerance (core/tolerance.h); above 1 the status is
///                          nonconforming
///   relative_error         sqrt(sum |o_i - f_i|^2 / sum |f_i|^2); the same of a plain float32
///                          evaluation of f (_floor), of the mean of the visible values
///                          (mean_value_error), and for restricted rows of a softmax over as many
///                          keys as the variant weighs, those with the largest weights
///                          (oracle_error): regret = relative_error - oracle_error
///   head_errors            relative_error over the rows of each query head alone, in all batch
///                          entries; nothing where a head has fewer than kFewestHeadRows of them
///   row_error_median       of |o_i - f_i| / |f_i|; row_error_worst: share_no_worse(sampled_rows)
///                          of all rows are no worse; row_error_pinned: worst of the pinned rows
///   captured_mass          1 - sum lost_i / rows, lost_i = full attention's mass on keys without a
///                          weight
///   value_contrast         relative_error / sqrt(mean lost_i^2): by how much the values that are
///                          lost differ from those that are kept. For a softmax on fewer keys
///                          o_i - f_i = lost_i (mean kept value - mean lost value)
///   top_recall             share of the kTopKeys heaviest keys of a row that get a weight
///
/// Rows that see no key enter no distribution measure; rows with f_i = 0 no row error. The random
/// rows carry the statistics; with all rows there is nothing left to estimate and intervals are
/// empty. The whole output is looked through: one element that is not finite gives status nan, and
/// the reason says whether the definition is finite there.
///
/// With `reseeded` and seeds > 1 the definitions of seeds - 1 further seeds are evaluated on the
/// same rows: seed_error_mean and _worst of relative_error, seed_bias of the mean output over seeds
/// (less what its own spread adds to it), seed_spread the standard deviation of outputs; both
/// relative to |f|.
///
/// Time O(rows * key_len * head_dim * seeds); memory O(threads * key_len). The numbers do not
/// depend on the number of threads.
void judge_errors(const Judged& judged, const JudgeSettings& settings, Context& context,
                  CellResult& result, const Reseeded& reseeded = {}, Index seeds = 1);

}  // namespace longattn

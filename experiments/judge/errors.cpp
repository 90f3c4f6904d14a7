#include "experiments/judge/errors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/softmax_definition.h"
#include "core/tolerance.h"
#include "experiments/judge/row_judgement.h"
#include "experiments/judge/statistics.h"

namespace longattn {
namespace {

using Part = double RowJudgement::*;

std::vector<double> column(const std::vector<RowJudgement>& rows, Part part) {
  std::vector<double> values;
  for (const RowJudgement& row : rows) values.push_back(row.*part);
  return values;
}

double sum(const std::vector<RowJudgement>& rows, Part part) {
  double total = 0;
  for (const RowJudgement& row : rows) total += row.*part;
  return total;
}

double largest(const std::vector<RowJudgement>& rows, Part part) {
  double most = 0;
  for (const RowJudgement& row : rows) most = std::max(most, row.*part);
  return most;
}

// Norms of rows against those of full attention, without the rows where that is zero.
std::vector<double> row_errors(const std::vector<RowJudgement>& rows) {
  std::vector<double> errors;
  for (const RowJudgement& row : rows) {
    if (row.full2 > 0) errors.push_back(std::sqrt(row.error2 / row.full2));
  }
  return errors;
}

// What is learnt of all rows is not estimated.
Estimate settled(Estimate estimate, bool census) {
  return census ? Estimate{estimate.value, estimate.value, estimate.value} : estimate;
}

class Summary {
 public:
  Summary(const std::vector<RowJudgement>& rows, bool census, std::uint64_t seed)
      : rows_(rows), census_(census), seed_(seed) {}

  // (sum a / sum b)^power; nothing where b is zero throughout.
  std::optional<Estimate> ratio(Part a, Part b, double power) const {
    if (!(sum(rows_, b) > 0)) return std::nullopt;
    return settled(bootstrap_ratio(column(rows_, a), column(rows_, b), power, seed_), census_);
  }
  std::optional<double> norm_ratio(Part a) const {
    const double all = sum(rows_, &RowJudgement::full2), ratio = sum(rows_, a) / all;
    // float32 may have no number where double has one: no figure is nan.
    return all > 0 && std::isfinite(ratio) ? std::optional(std::sqrt(ratio)) : std::nullopt;
  }
  std::optional<double> mean(Part a, Part b) const {
    const double all = sum(rows_, b);
    return all > 0 ? std::optional(sum(rows_, a) / all) : std::nullopt;
  }

  void errors(CellResult& result) const {
    result.relative_error = ratio(&RowJudgement::error2, &RowJudgement::full2, 0.5);
    result.own_relative_error = ratio(&RowJudgement::own_error2, &RowJudgement::own_full2, 0.5);
    result.relative_error_floor = norm_ratio(&RowJudgement::floor2);
    result.mean_value_error = norm_ratio(&RowJudgement::mean2);
    result.max_abs_error = largest(rows_, &RowJudgement::max_abs);
    const std::vector<double> errors = row_errors(rows_);
    if (errors.empty()) return;
    result.row_error_median = settled(median_interval(errors), census_);
    result.row_error_worst = std::ranges::max(errors);
  }

  void distributions(const Traits& traits, CellResult& result) const {
    result.row_entropy = mean(&RowJudgement::entropy, &RowJudgement::visible);
    if (traits.rows == Traits::Rows::signed_) return;  // weights that are no distribution
    const auto lost = ratio(&RowJudgement::lost, &RowJudgement::visible, 1);
    if (!lost) return;
    result.captured_mass = Estimate{1 - lost->value, 1 - lost->high, 1 - lost->low};
    double covered = 0, uncovered = 0;
    for (const RowJudgement& row : rows_) (row.uncovered ? uncovered : covered) += row.visible;
    result.uncovered_rows = uncovered;
    if (covered > 0) {
      result.total_variation = sum(rows_, &RowJudgement::total_variation) / covered;
      result.kl_divergence = sum(rows_, &RowJudgement::kl_divergence) / covered;
    }
    if (traits.rows != Traits::Rows::restricted) return;
    result.oracle_error = norm_ratio(&RowJudgement::oracle2);
    result.top_recall = mean(&RowJudgement::top_found, &RowJudgement::top);
    double lost2 = 0;
    for (const RowJudgement& row : rows_) lost2 += row.lost * row.lost;
    const double rms = std::sqrt(lost2 / sum(rows_, &RowJudgement::visible));
    if (rms > 0 && result.relative_error) {
      result.value_contrast = result.relative_error->value / rms;
    }
  }

 private:
  const std::vector<RowJudgement>& rows_;
  bool census_;
  std::uint64_t seed_;
};

// Heads are judged apart or not at all: a table with gaps would look like heads without errors.
std::vector<Estimate> errors_of_heads(const Problem& p, const std::vector<RowJudgement>& all,
                                      std::uint64_t seed) {
  std::vector<std::vector<RowJudgement>> rows(static_cast<size_t>(p.num_heads));
  for (const RowJudgement& row : all) rows[static_cast<size_t>(row.head)].push_back(row);
  std::vector<Estimate> errors;
  for (const auto& of_head : rows) {
    const auto count = static_cast<Index>(of_head.size());
    const bool census = count == p.batch * p.query_len;
    if (count < kFewestHeadRows && !census) return {};
    constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
    errors.push_back(Summary(of_head, census, seed)
                         .ratio(&RowJudgement::error2, &RowJudgement::full2, 0.5)
                         .value_or(Estimate{kNone, kNone, kNone}));
  }
  return errors;
}

using Definitions = std::vector<std::unique_ptr<Definition>>;

Definitions all_definitions(const Attention& attention, const Inputs& inputs) {
  const Problem& p = attention.problem();
  Definitions definitions;
  for (Index b = 0; b < p.batch; ++b) {
    for (Index h = 0; h < p.num_heads; ++h) {
      definitions.push_back(attention.definition(inputs, b, h));
    }
  }
  return definitions;
}

const Definition& definition_of(const Definitions& all, const Problem& p, const RowChunk& chunk) {
  return *all[static_cast<size_t>(chunk.batch_entry * p.num_heads + chunk.head)];
}

// Outputs of some rows under several seeds, summed up.
struct SeedSums {
  Eigen::MatrixXd full, sum;   // [queries, value_dim]
  double squares = 0;          // of all outputs
  std::vector<double> error2;  // per seed
};

void add_seed(const Eigen::MatrixXd& output, SeedSums& sums) {
  if (sums.error2.empty()) sums.sum = Eigen::MatrixXd::Zero(output.rows(), output.cols());
  sums.sum += output;
  sums.squares += output.squaredNorm();
  sums.error2.push_back((output - sums.full).squaredNorm());
}

void summarise_seeds(const std::vector<SeedSums>& sums, CellResult& result) {
  const size_t seeds = sums.front().error2.size();
  const auto count = static_cast<double>(seeds);
  double full2 = 0, bias2 = 0, variance = 0, mean = 0, worst = 0;
  std::vector<double> error2(seeds, 0.0);
  for (const SeedSums& part : sums) {
    full2 += part.full.squaredNorm();
    bias2 += (part.sum / count - part.full).squaredNorm();
    variance += std::max(0.0, part.squares - part.sum.squaredNorm() / count) / (count - 1);
    for (size_t n = 0; n < seeds; ++n) error2[n] += part.error2[n];
  }
  if (!(full2 > 0 && variance > 0)) return;  // it draws nothing
  for (double e2 : error2) {
    mean += std::sqrt(e2 / full2) / count;
    worst = std::max(worst, std::sqrt(e2 / full2));
  }
  result.seeds = count;
  result.seed_error_mean = mean;
  result.seed_error_worst = worst;
  // A mean of n outputs still carries 1/n of their variance.
  result.seed_bias = std::sqrt(std::max(0.0, bias2 - variance / count) / full2);
  result.seed_spread = std::sqrt(variance / full2);
}

void judge_seeds(const Attention& attention, const Definitions& own, const Inputs& inputs,
                 const std::vector<RowChunk>& chunks, const Reseeded& reseeded, Index seeds,
                 Context& context, CellResult& result) {
  const Problem& p = attention.problem();
  std::vector<SeedSums> sums(chunks.size());
  for (Index seed = 0; seed < seeds; ++seed) {
    const auto other = seed == 0 ? nullptr : reseeded(seed);
    const Definitions others = other == nullptr ? Definitions() : all_definitions(*other, inputs);
    const Definitions& all = other == nullptr ? own : others;
    context.arena().for_each(static_cast<Index>(chunks.size()), [&](Index n, int) {
      const RowChunk& chunk = chunks[static_cast<size_t>(n)];
      SeedSums& part = sums[static_cast<size_t>(n)];
      const auto weighed = [&](const Definition& definition) {
        return weigh_values(p, inputs, definition.rows(chunk.queries), chunk.batch_entry,
                            chunk.head);
      };
      if (seed == 0) {
        part.full = weighed(*softmax_definition(p, inputs, chunk.batch_entry, chunk.head));
      }
      add_seed(weighed(definition_of(all, p, chunk)), part);
    });
  }
  summarise_seeds(sums, result);
}

// Status nan when some element of the output is not finite; looks at all of them.
void look_for_nan(const Attention& attention, const Inputs& inputs, const TensorView& output,
                  CellResult& result) {
  const Problem& p = attention.problem();
  Index broken = 0;
  std::array<Index, 3> first{};
  for (Index b = 0; b < p.batch; ++b) {
    for (Index h = 0; h < p.num_heads; ++h) {
      for (Index i = 0; i < p.query_len; ++i) {
        const float* row = output.row(b, h, i);
        if (std::all_of(row, row + p.value_dim, [](float x) { return std::isfinite(x); })) continue;
        if (broken++ == 0) first = {b, h, i};
      }
    }
  }
  if (broken == 0) return;
  const auto [b, h, i] = first;
  const auto own = attention.definition(inputs, b, h);
  const bool defined =
      expected_rows(attention, inputs, *own, b, h, std::span(&first[2], 1)).output.allFinite();
  result.status = Status::nan;
  result.reason = fmt::format(
      "{} of {} output rows hold NaN or infinity, the first at batch {}, head {}, query {}, where "
      "the definition is {}",
      broken, p.batch * p.num_heads * p.query_len, b, h, i,
      defined ? "finite" : "not finite either: look at the inputs");
}

}  // namespace

double judging_bytes(const Problem& p, int threads) {
  constexpr double kMatrices = 12, kOther = 64 << 20;
  const auto keys = static_cast<double>(p.key_len), queries = static_cast<double>(p.query_len);
  const double rows = kMatrices * sizeof(double) * kRowsAtOnce * keys * threads;
  const double prepared = 32 * static_cast<double>(p.batch * p.num_heads) * (keys + queries);
  return rows + prepared + kOther;
}

void summarise_rows(const std::vector<RowJudgement>& judged, const Problem& p, const Traits& traits,
                    std::uint64_t seed, CellResult& result) {
  std::vector<RowJudgement> rows, pinned;
  for (const RowJudgement& row : judged) (row.pinned ? pinned : rows).push_back(row);
  result.sampled_rows = static_cast<Index>(rows.size());
  const Summary summary(rows, is_census(p, result.sampled_rows), seed);
  summary.errors(result);
  summary.distributions(traits, result);
  result.head_errors = errors_of_heads(p, rows, seed);
  if (const auto errors = row_errors(pinned); !errors.empty()) {
    result.row_error_pinned = std::ranges::max(errors);
  }
  for (const auto* part : {&rows, &pinned}) {
    for (const auto& [field, of] : {std::pair(&result.implementation_ratio, &RowJudgement::ratio),
                                    {&result.gate_resolution, &RowJudgement::resolution}}) {
      *field = std::max(field->value_or(0), largest(*part, of));
    }
  }
  if (*result.implementation_ratio > 1) {
    result.status = Status::nonconforming;
    result.reason = fmt::format(
        "forward differs from its own definition by {:.3g} times what "
        "rounding explains",
        *result.implementation_ratio);
  }
}

void judge_errors(const Judged& judged, const JudgeSettings& settings, Context& context,
                  CellResult& result, const Reseeded& reseeded, Index seeds) {
  const auto& [attention, traits, inputs, output] = judged;
  const Problem& p = attention.problem();
  if (p.query_len == 0) return;
  look_for_nan(attention, inputs, output, result);
  if (result.status == Status::nan) return;
  std::vector<RowChunk> chunks = sample_rows(p, settings.rows, settings.seed);
  const Definitions own = all_definitions(attention, inputs);
  std::vector<std::vector<RowJudgement>> parts(chunks.size());
  context.arena().for_each(static_cast<Index>(chunks.size()), [&](Index n, int) {
    const RowChunk& chunk = chunks[static_cast<size_t>(n)];
    parts[static_cast<size_t>(n)] = judge_rows(judged.attention, judged.traits, judged.inputs,
                                               definition_of(own, p, chunk), chunk, judged.output);
  });
  std::vector<RowJudgement> rows;
  for (const auto& part : parts) rows.insert(rows.end(), part.begin(), part.end());
  summarise_rows(rows, p, traits, settings.seed, result);
  if (result.status != Status::ok) return;
  if (reseeded && seeds > 1) {
    std::erase_if(chunks, [](const RowChunk& chunk) { return chunk.pinned; });
    judge_seeds(attention, own, inputs, chunks, reseeded, seeds, context, result);
  }
}

}  // namespace longattn

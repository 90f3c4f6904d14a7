#include "experiments/judge/errors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/random.h"
#include "core/softmax_definition.h"
#include "core/tolerance.h"
#include "experiments/judge/statistics.h"

namespace longattn {
namespace {

constexpr Index kRowsAtOnce = 8;

// Some queries of one (batch entry, head), judged together.
struct Chunk {
  Index batch_entry, head;
  std::vector<Index> queries;
};

// What is learnt from one query row.
struct RowJudgement {
  double ratio = 0, resolution = 0;
  double error2 = 0, full2 = 0, floor2 = 0, max_abs = 0;
  double mass = 0, visible_mass = 0;
  double own_error2 = 0, own_full2 = 0;  // against full attention over the variant's own keys
};

std::vector<Chunk> draw_rows(const Problem& p, const JudgeSettings& settings) {
  const Index groups = p.batch * p.num_heads;
  std::vector<Chunk> chunks;
  for (Index group = 0; group < groups; ++group) {
    const Index share = settings.rows * (group + 1) / groups - settings.rows * group / groups;
    const Index count = std::min(std::max<Index>(share, 1), p.query_len);
    const CounterRandom random(settings.seed,
                               make_stream(0x50B5, static_cast<std::uint64_t>(group)));
    std::vector<Index> queries;
    for (Index n = 0; n < count; ++n) queries.push_back(permuted(random, p.query_len, n));
    std::ranges::sort(queries);
    for (Index n = 0; n < count; n += kRowsAtOnce) {
      const auto begin = queries.begin() + n;
      chunks.push_back({group / p.num_heads,
                        group % p.num_heads,
                        {begin, begin + std::min(kRowsAtOnce, count - n)}});
    }
  }
  return chunks;
}

// Full attention of some rows as a plain float32 program would have it: what rounding alone costs.
// With bfloat16 storage probabilities are rounded to it before they meet the values, as programs do
// that multiply in it. [value_dim, queries]
Eigen::MatrixXf full_rows_in_float(const Problem& p, const Inputs& inputs, const Chunk& chunk) {
  const Index b = chunk.batch_entry, h = chunk.head, kv_head = p.kv_head(h);
  const auto count = static_cast<Index>(chunk.queries.size());
  Eigen::MatrixXf q(p.head_dim, count);
  for (Index r = 0; r < count; ++r) {
    const void* row = inputs.queries.row(b, h, chunk.queries[static_cast<size_t>(r)]);
    load_floats(p.dtype, row, p.head_dim, q.col(r).data());
  }
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  Eigen::MatrixXf scores = Eigen::MatrixXf::Constant(count, p.key_len, kNothing);
  const auto scale = static_cast<float>(p.effective_scale());
  Eigen::VectorXf k(p.head_dim), v(p.value_dim);
  for (Index j = 0; j < p.key_len; ++j) {
    load_floats(p.dtype, inputs.keys.row(b, kv_head, j), p.head_dim, k.data());
    for (Index r = 0; r < count; ++r) {
      const Index query = chunk.queries[static_cast<size_t>(r)];
      if (!p.visible(b, query, j)) continue;
      scores(r, j) = q.col(r).dot(k) * scale + static_cast<float>(p.bias(h, query, j));
    }
  }
  const Eigen::VectorXf largest = scores.rowwise().maxCoeff();
  Eigen::VectorXf sums = Eigen::VectorXf::Zero(count);
  Eigen::MatrixXf output = Eigen::MatrixXf::Zero(p.value_dim, count);
  for (Index j = 0; j < p.key_len; ++j) {
    load_floats(p.dtype, inputs.values.row(b, kv_head, j), p.value_dim, v.data());
    for (Index r = 0; r < count; ++r) {
      if (scores(r, j) == kNothing) continue;
      float weight = std::exp(scores(r, j) - largest(r));
      if (p.dtype == DType::bfloat16) weight = bfloat16_to_float(float_to_bfloat16(weight));
      sums(r) += weight;
      output.col(r) += weight * v;
    }
  }
  for (Index r = 0; r < count; ++r) {
    if (sums(r) > 0) output.col(r) /= sums(r);
  }
  return output;
}

// max |difference| / tolerance of one row, as worst_ratio does for many.
double row_ratio(const ExpectedRows& expected, Index r, const Eigen::VectorXd& forward) {
  double worst = 0;
  for (Index c = 0; c < forward.size(); ++c) {
    const double difference = std::abs(forward(c) - expected.output(r, c));
    if (difference == 0) continue;
    const double ratio = difference / expected.tolerance(r, c);
    if (std::isnan(ratio)) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, ratio);
  }
  return worst;
}

// Against full attention over the keys that the variant makes, if it makes any.
void judge_own(const Attention& attention, const Inputs& inputs, const Eigen::MatrixXd& output,
               const Chunk& chunk, std::vector<RowJudgement>& judgements) {
  const auto own = attention.own_full_attention(inputs, chunk.batch_entry, chunk.head);
  if (own == nullptr) return;
  const Eigen::MatrixXd full = weigh_values(attention.problem(), inputs, own->rows(chunk.queries),
                                            chunk.batch_entry, chunk.head);
  for (size_t n = 0; n < judgements.size(); ++n) {
    const auto r = static_cast<Index>(n);
    judgements[n].own_error2 = (output.row(r) - full.row(r)).squaredNorm();
    judgements[n].own_full2 = full.row(r).squaredNorm();
  }
}

std::vector<RowJudgement> judge_chunk(const Attention& attention, const Inputs& inputs,
                                      const Definition& own, const Chunk& chunk,
                                      const TensorView& output) {
  const Problem& p = attention.problem();
  const Index b = chunk.batch_entry, h = chunk.head;
  const ExpectedRows expected = expected_rows(attention, inputs, own, b, h, chunk.queries);
  const Rows full = softmax_definition(p, inputs, b, h)->rows(chunk.queries);
  const Eigen::MatrixXd exact = weigh_values(p, inputs, full, b, h);
  const Eigen::MatrixXd rounded = full_rows_in_float(p, inputs, chunk).cast<double>();
  std::vector<RowJudgement> judgements;
  for (size_t n = 0; n < chunk.queries.size(); ++n) {
    const auto r = static_cast<Index>(n);
    const Index query = chunk.queries[n];
    Eigen::VectorXd forward(p.value_dim);
    for (Index c = 0; c < p.value_dim; ++c) {
      forward(c) = static_cast<double>(output.row(b, h, query)[c]);
    }
    RowJudgement j;
    j.ratio = row_ratio(expected, r, forward);
    const double norm = expected.output.row(r).norm();
    if (norm > 0) j.resolution = expected.tolerance.row(r).norm() / norm;
    const Eigen::VectorXd difference = (expected.output.row(r) - exact.row(r)).transpose();
    j.error2 = difference.squaredNorm();
    j.full2 = exact.row(r).squaredNorm();
    j.max_abs = difference.cwiseAbs().maxCoeff();
    j.floor2 = (rounded.col(r) - exact.row(r).transpose()).squaredNorm();
    j.visible_mass = full.weights.row(r).sum();
    for (Index key = 0; key < p.key_len; ++key) {
      if (expected.rows.weights(r, key) != 0) j.mass += full.weights(r, key);
    }
    judgements.push_back(j);
  }
  judge_own(attention, inputs, expected.output, chunk, judgements);
  return judgements;
}

// sqrt(sum of error2 / sum of full2) over rows, with its interval; nothing where full2 is zero.
std::optional<Estimate> relative_error(const std::vector<RowJudgement>& rows,
                                       double RowJudgement::*error2, double RowJudgement::*full2,
                                       std::uint64_t seed) {
  const auto sum = [&](std::span<const Index> sample, double RowJudgement::*part) {
    double total = 0;
    for (Index n : sample) total += rows[static_cast<size_t>(n)].*part;
    return total;
  };
  if (std::ranges::all_of(rows, [&](const RowJudgement& row) { return row.*full2 == 0; })) {
    return std::nullopt;
  }
  return bootstrap(
      static_cast<Index>(rows.size()),
      [&](std::span<const Index> sample) {
        const double denominator = sum(sample, full2);
        return denominator > 0 ? std::sqrt(sum(sample, error2) / denominator) : 0.0;
      },
      seed);
}

void summarise(const std::vector<RowJudgement>& rows, const Traits& traits,
               const JudgeSettings& settings, CellResult& result) {
  const auto count = static_cast<Index>(rows.size());
  const auto over = [&](std::span<const Index> sample, auto value) {
    double sum = 0;
    for (Index n : sample) sum += value(rows[static_cast<size_t>(n)]);
    return sum;
  };
  result.sampled_rows = count;
  double ratio = 0, resolution = 0, max_abs = 0, floor2 = 0, all_full2 = 0, worst_row = 0;
  for (const RowJudgement& row : rows) {
    ratio = std::max(ratio, row.ratio);
    resolution = std::max(resolution, row.resolution);
    max_abs = std::max(max_abs, row.max_abs);
    floor2 += row.floor2;
    all_full2 += row.full2;
    if (row.full2 > 0) worst_row = std::max(worst_row, std::sqrt(row.error2 / row.full2));
  }
  result.implementation_ratio = ratio;
  result.gate_resolution = resolution;
  result.max_abs_error = max_abs;
  result.own_relative_error =
      relative_error(rows, &RowJudgement::own_error2, &RowJudgement::own_full2, settings.seed);
  if (all_full2 > 0) {
    result.relative_error =
        relative_error(rows, &RowJudgement::error2, &RowJudgement::full2, settings.seed);
    result.relative_error_floor = std::sqrt(floor2 / all_full2);
    result.row_error_median = bootstrap(
        count,
        [&](std::span<const Index> sample) {
          std::vector<double> errors;
          for (Index n : sample) {
            const RowJudgement& row = rows[static_cast<size_t>(n)];
            if (row.full2 > 0) errors.push_back(std::sqrt(row.error2 / row.full2));
          }
          return errors.empty() ? 0.0 : median(errors);
        },
        settings.seed);
    result.row_error_worst = worst_row;
  }
  const auto visible_mass = [](const RowJudgement& row) { return row.visible_mass; };
  const bool sees_anything =
      std::ranges::any_of(rows, [](const RowJudgement& row) { return row.visible_mass > 0; });
  if (traits.rows != Traits::Rows::signed_ && sees_anything) {
    result.captured_mass = bootstrap(
        count,
        [&](std::span<const Index> sample) {
          const double rows_that_see = over(sample, visible_mass);  // 1 each, up to rounding
          const double mass = over(sample, [](const RowJudgement& row) { return row.mass; });
          return rows_that_see > 0 ? mass / rows_that_see : 1.0;
        },
        settings.seed);
  }
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
  constexpr double kMatrices = 8, kOther = 64 << 20;
  const auto keys = static_cast<double>(p.key_len), queries = static_cast<double>(p.query_len);
  const double rows = kMatrices * sizeof(double) * kRowsAtOnce * keys * threads;
  const double prepared = 32 * static_cast<double>(p.batch * p.num_heads) * (keys + queries);
  return rows + prepared + kOther;
}

void judge_errors(const Attention& attention, const Traits& traits, const Inputs& inputs,
                  const JudgeSettings& settings, Context& context, CellResult& result) {
  const Problem& p = attention.problem();
  Tensor output({p.batch, p.num_heads, p.query_len, p.value_dim});
  attention.forward(inputs, {output.mutable_view(), {}}, context);
  if (p.query_len == 0) return;
  look_for_nan(attention, inputs, output.mutable_view(), result);
  if (result.status == Status::nan) return;
  const std::vector<Chunk> chunks = draw_rows(p, settings);
  std::vector<std::unique_ptr<Definition>> definitions;
  for (Index b = 0; b < p.batch; ++b) {
    for (Index h = 0; h < p.num_heads; ++h) {
      definitions.push_back(attention.definition(inputs, b, h));
    }
  }
  std::vector<std::vector<RowJudgement>> judged(chunks.size());
  context.arena().for_each(static_cast<Index>(chunks.size()), [&](Index n, int) {
    const Chunk& chunk = chunks[static_cast<size_t>(n)];
    const Index group = chunk.batch_entry * p.num_heads + chunk.head;
    judged[static_cast<size_t>(n)] = judge_chunk(
        attention, inputs, *definitions[static_cast<size_t>(group)], chunk, output.mutable_view());
  });
  std::vector<RowJudgement> rows;
  for (const auto& part : judged) rows.insert(rows.end(), part.begin(), part.end());
  summarise(rows, traits, settings, result);
  if (*result.implementation_ratio > 1) {
    result.status = Status::nonconforming;
    result.reason = fmt::format(
        "forward differs from its own definition by {:.3g} times what "
        "rounding explains",
        *result.implementation_ratio);
  }
}

}  // namespace longattn

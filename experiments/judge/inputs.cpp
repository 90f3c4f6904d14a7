#include "experiments/judge/inputs.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/random.h"
#include "core/softmax_definition.h"
#include "experiments/judge/row_sample.h"
#include "experiments/judge/statistics.h"
#include "experiments/judge/window_mass.h"

namespace longattn {
namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();
constexpr Index kFirstTokens = 4;
constexpr Index kRankTokens = 4096, kRankDim = 1024;

// What is learnt from one row that sees a key.
struct RowMeasures {
  Index visible = 0;
  double score_variance = 0, entropy = 0, distance = 0, first = 0, planted = 0;
  std::vector<double> within;  // mass, for each window of the grid
};

std::vector<double> column(const std::vector<RowMeasures>& rows, double RowMeasures::*field) {
  std::vector<double> values;
  for (const RowMeasures& row : rows) values.push_back(row.*field);
  return values;
}

// Scores of some rows, minus infinity where a key is not seen: [queries, key_len].
Eigen::MatrixXd scores_of(const Problem& p, const Inputs& inputs, const RowChunk& chunk) {
  const Index b = chunk.batch_entry, h = chunk.head;
  const auto count = static_cast<Index>(chunk.queries.size());
  Eigen::MatrixXd q(p.head_dim, count);
  for (Index r = 0; r < count; ++r) {
    load_row(inputs.queries, b, h, chunk.queries[static_cast<size_t>(r)], q.col(r).data());
  }
  Eigen::MatrixXd scores = Eigen::MatrixXd::Constant(count, p.key_len, kNothing);
  Eigen::VectorXd k(p.head_dim);
  for (Index j = 0; j < p.key_len; ++j) {
    load_row(inputs.keys, b, p.kv_head(h), j, k.data());
    for (Index r = 0; r < count; ++r) {
      const Index i = chunk.queries[static_cast<size_t>(r)];
      if (!p.visible(b, i, j)) continue;
      scores(r, j) = p.effective_scale() * q.col(r).dot(k) + p.bias(h, i, j);
    }
  }
  return scores;
}

// The smallest w for which keys within w tokens of the position hold half of the mass.
Index half_mass_distance(const Eigen::VectorXd& weights, Index position) {
  const auto weight = [&](Index j) { return j >= 0 && j < weights.size() ? weights(j) : 0.0; };
  double mass = weight(position);
  Index w = 0;
  const Index most = std::max(std::abs(position), std::abs(weights.size() - 1 - position));
  while (mass < 0.5 && w < most) {
    ++w;
    mass += weight(position - w) + weight(position + w);
  }
  return w;
}

std::vector<RowMeasures> measure_chunk(const Problem& p, const Inputs& inputs,
                                       const InputSource* source, const std::vector<Index>& windows,
                                       const RowChunk& chunk) {
  const Index b = chunk.batch_entry, h = chunk.head;
  Rows rows;
  rows.weights = scores_of(p, inputs, chunk);
  rows.logsumexp = Eigen::VectorXd::Constant(rows.weights.rows(), kNothing);
  std::vector<RowMeasures> measures;
  for (Index r = 0; r < rows.weights.rows(); ++r) {
    const Index i = chunk.queries[static_cast<size_t>(r)];
    RowMeasures m;
    double mean = 0;
    for (Index j = 0; j < p.key_len; ++j) {  // Welford's recurrence
      const double score = rows.weights(r, j);
      if (score == kNothing) continue;
      ++m.visible;
      const double step = score - mean;
      mean += step / static_cast<double>(m.visible);
      m.score_variance += step * (score - mean);
    }
    if (m.visible == 0) continue;
    if (m.visible > 1) m.score_variance /= static_cast<double>(m.visible - 1);
    normalise_row(rows, r);
    const Eigen::VectorXd weights = rows.weights.row(r).transpose();
    for (Index j = 0; j < p.key_len; ++j) {
      if (weights(j) > 0) m.entropy -= weights(j) * std::log(weights(j));
    }
    if (source != nullptr) {
      for (Index j : source->planted(b, h, i)) m.planted += weights(j);
    }
    m.first = weights.head(std::min(kFirstTokens, p.key_len)).sum();
    m.distance = static_cast<double>(half_mass_distance(weights, p.position(i)));
    m.within = masses_within(weights, p.position(i), windows);
    measures.push_back(m);
  }
  return measures;
}

// Up to kRankTokens rows of one head: [tokens, dim].
Eigen::MatrixXd some_rows(const ConstTensorView& tensor, Index b, Index head,
                          const CounterRandom& random) {
  const std::vector<Index> tokens =
      sample_stretches(tensor.len(), std::min(tensor.len(), kRankTokens), random);
  Eigen::MatrixXd columns(tensor.dim(), static_cast<Index>(tokens.size()));
  for (size_t n = 0; n < tokens.size(); ++n) {
    load_row(tensor, b, head, tokens[n], columns.col(static_cast<Index>(n)).data());
  }
  return columns.transpose();
}

// The singular values of Q K^T are the square roots of the eigenvalues of A B A with A^2 = Q^T Q
// and B = K^T K.
double effective_rank(const Eigen::MatrixXd& queries, Eigen::MatrixXd keys) {
  keys.rowwise() -= keys.colwise().mean().eval();
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> of_queries(queries.transpose() * queries);
  // Eigenvalues that are zero may be rounded below it.
  const Eigen::VectorXd roots = of_queries.eigenvalues().cwiseMax(0).cwiseSqrt();
  const Eigen::MatrixXd root =
      of_queries.eigenvectors() * roots.asDiagonal() * of_queries.eigenvectors().transpose();
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> of_scores(
      root * (keys.transpose() * keys) * root, Eigen::EigenvaluesOnly);
  // What rounding leaves of a zero: eps times the largest eigenvalue, and its root is far larger.
  const double largest = of_scores.eigenvalues().maxCoeff();
  const double zero = static_cast<double>(root.rows()) * 1e-15 * largest;
  const Eigen::ArrayXd values =
      (of_scores.eigenvalues().array() > zero).select(of_scores.eigenvalues(), 0).array().sqrt();
  const double sum = values.sum();
  double entropy = 0;
  for (double value : values) {
    if (value > 0) entropy -= value / sum * std::log(value / sum);
  }
  return sum > 0 ? std::exp(entropy) : 0;
}

// Of each (batch entry, head); empty where none is told.
std::vector<double> effective_ranks(const Problem& p, const Inputs& inputs, std::uint64_t seed,
                                    Context& context) {
  if (p.head_dim > kRankDim || p.query_len == 0 || p.key_len == 0) return {};
  std::vector<double> ranks(static_cast<size_t>(p.batch * p.num_heads));
  context.arena().for_each(p.batch * p.num_heads, [&](Index n, int) {
    const Index b = n / p.num_heads, h = n % p.num_heads;
    const CounterRandom random(seed, make_stream(0x4A4E, static_cast<std::uint64_t>(n)));
    ranks[static_cast<size_t>(n)] = effective_rank(some_rows(inputs.queries, b, h, random),
                                                   some_rows(inputs.keys, b, p.kv_head(h), random));
  });
  return ranks;
}

std::optional<double> finite_mean(const std::vector<double>& values) {
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  if (values.empty() || !std::isfinite(sum)) return std::nullopt;
  return sum / static_cast<double>(values.size());
}

HeadMeasures measure_head(const std::vector<RowMeasures>& rows, const std::vector<double>& ranks,
                          const std::vector<Index>& windows) {
  HeadMeasures head;
  head.sampled_rows = static_cast<Index>(rows.size());
  head.effective_rank = finite_mean(ranks);
  if (rows.empty()) return head;
  head.row_entropy = finite_mean(column(rows, &RowMeasures::entropy));
  head.first_tokens_mass = finite_mean(column(rows, &RowMeasures::first));
  std::vector<double> within(windows.size(), 0.0);
  for (const RowMeasures& row : rows) {
    for (size_t n = 0; n < within.size(); ++n) within[n] += row.within[n];
  }
  for (double& mass : within) mass /= static_cast<double>(rows.size());
  const auto enough =
      std::ranges::find_if(within, [](double mass) { return mass >= 0.99; }) - within.begin();
  if (const auto at = static_cast<size_t>(enough); at < windows.size()) {
    head.window_99 = static_cast<double>(windows[at]);
  }
  for (const Index window : kMassWindows) {
    const auto at = std::ranges::lower_bound(windows, window) - windows.begin();
    head.window_mass.push_back(within[std::min(static_cast<size_t>(at), within.size() - 1)]);
  }
  return head;
}

std::vector<HeadMeasures> measure_heads(const Problem& p, const std::vector<RowChunk>& chunks,
                                        const std::vector<std::vector<RowMeasures>>& measured,
                                        const std::vector<double>& ranks,
                                        const std::vector<Index>& windows) {
  std::vector<HeadMeasures> heads;
  for (Index h = 0; h < p.num_heads; ++h) {
    std::vector<RowMeasures> rows;
    for (size_t n = 0; n < chunks.size(); ++n) {
      if (chunks[n].head == h) rows.insert(rows.end(), measured[n].begin(), measured[n].end());
    }
    std::vector<double> own;
    for (size_t n = static_cast<size_t>(h); n < ranks.size();
         n += static_cast<size_t>(p.num_heads)) {
      own.push_back(ranks[n]);
    }
    heads.push_back(measure_head(rows, own, windows));
  }
  return heads;
}

}  // namespace

InputResult measure_input(const Problem& p, const Inputs& inputs, const InputSource* source,
                          const JudgeSettings& settings, Context& context) {
  std::vector<RowChunk> chunks = sample_rows(p, settings.rows, settings.seed);
  std::erase_if(chunks, [](const RowChunk& chunk) { return chunk.pinned; });  // no random sample
  const std::vector<Index> windows = window_grid(p.key_len);
  std::vector<std::vector<RowMeasures>> measured(chunks.size());
  context.arena().for_each(static_cast<Index>(chunks.size()), [&](Index n, int) {
    const auto at = static_cast<size_t>(n);
    measured[at] = measure_chunk(p, inputs, source, windows, chunks[at]);
  });
  std::vector<RowMeasures> rows;
  for (const auto& part : measured) rows.insert(rows.end(), part.begin(), part.end());
  InputResult result;
  const std::vector<double> ranks = effective_ranks(p, inputs, settings.seed, context);
  result.effective_rank = finite_mean(ranks);
  result.heads = measure_heads(p, chunks, measured, ranks, windows);
  result.sampled_rows = static_cast<Index>(rows.size());
  if (rows.empty()) return result;
  const std::vector<double> ones(rows.size(), 1.0);
  const auto mean = [&](double RowMeasures::*field) {
    return bootstrap_ratio(column(rows, field), ones, 1, settings.seed);
  };
  result.row_entropy = mean(&RowMeasures::entropy);
  result.first_tokens_mass = mean(&RowMeasures::first);
  result.half_mass_distance = median_interval(column(rows, &RowMeasures::distance));
  std::vector<double> several;  // 1 for the rows that have a variance
  for (const RowMeasures& row : rows) several.push_back(row.visible > 1 ? 1 : 0);
  if (std::ranges::find(several, 1) != several.end()) {
    result.score_deviation =
        bootstrap_ratio(column(rows, &RowMeasures::score_variance), several, 0.5, settings.seed);
  }
  if (source != nullptr) result.planted_mass = mean(&RowMeasures::planted);
  double uniform = 0;
  for (const RowMeasures& row : rows) uniform += std::log(static_cast<double>(row.visible));
  result.uniform_entropy = uniform / static_cast<double>(rows.size());
  return result;
}

}  // namespace longattn

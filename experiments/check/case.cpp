#include "experiments/check/case.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "core/random.h"

namespace longattn {
namespace {

Tensor gaussian(const std::array<Index, 4>& shape, DType dtype, std::uint64_t seed,
                double deviation) {
  Tensor tensor(shape, dtype);
  const CounterRandom random(seed);
  for (Index n = 0; n < tensor.size(); ++n) {
    const auto value = static_cast<float>(deviation * random.normal(static_cast<std::uint64_t>(n)));
    store_floats(dtype, &value, 1, tensor.bytes_begin() + n * byte_size(dtype));
  }
  return tensor;
}

Tensor copy_of(const Tensor& tensor) {
  Tensor copy(tensor.shape(), tensor.dtype());
  if (tensor.bytes() > 0) {
    std::memcpy(copy.bytes_begin(), tensor.bytes_begin(), static_cast<size_t>(tensor.bytes()));
  }
  return copy;
}

// Replaces row j of every batch entry and head by change(element).
template <class Change>
void change_row(Tensor& tensor, Index j, Change change) {
  const ConstTensorView view = tensor.view();
  const Index width = byte_size(tensor.dtype());
  for (Index b = 0; b < view.batch(); ++b) {
    for (Index h = 0; h < view.heads(); ++h) {
      auto* row = const_cast<std::byte*>(static_cast<const std::byte*>(view.row(b, h, j)));
      for (Index c = 0; c < view.dim(); ++c) {
        float value = 0;
        load_floats(tensor.dtype(), row + c * width, 1, &value);
        value = change(value);
        store_floats(tensor.dtype(), &value, 1, row + c * width);
      }
    }
  }
}

std::optional<std::string> bit_difference(const char* name, const Tensor& found,
                                          const Tensor& expected, std::array<Index, 3> row) {
  const auto [b, h, i] = row;
  for (Index c = 0; c < found.shape()[3]; ++c) {
    const float x = found.view().float_row(b, h, i)[c], y = expected.view().float_row(b, h, i)[c];
    if (std::memcmp(&x, &y, sizeof x) == 0 || (std::isnan(x) && std::isnan(y))) continue;
    return fmt::format("{}[{}, {}, {}, {}] is {}, expected {}", name, b, h, i, c, x, y);
  }
  return std::nullopt;
}

void check_rows(const Rows& rows, const Problem& p, Index count) {
  if (rows.weights.rows() != count || rows.weights.cols() != p.key_len) {
    throw std::logic_error(fmt::format("the definition's weights are [{}, {}], expected [{}, {}]",
                                       rows.weights.rows(), rows.weights.cols(), count, p.key_len));
  }
  if (rows.score_bound.size() != count) {
    throw std::logic_error(fmt::format("the definition's score_bound has {} entries, expected {}",
                                       rows.score_bound.size(), count));
  }
}

// Some rows of a long sequence: both ends, and a seeded sample between.
std::vector<Index> sample_queries(Index query_len, bool long_sequence) {
  std::vector<Index> queries(static_cast<size_t>(query_len));
  std::iota(queries.begin(), queries.end(), Index{0});
  constexpr Index kSample = 48;
  if (!long_sequence || query_len <= kSample) return queries;
  std::vector<Index> sample = {0, query_len - 1};
  const CounterRandom random(4096);
  for (Index n = 0; n < kSample - 2; ++n) {
    sample.push_back(1 + permuted(random, query_len - 2, n));
  }
  std::ranges::sort(sample);
  return sample;
}

}  // namespace

CaseTensors::CaseTensors(const Variant& variant, const Problem& p, double temperature,
                         bool with_extra)
    : queries(gaussian({p.batch, p.num_heads, p.query_len, p.head_dim}, p.dtype, 1, temperature)),
      keys(gaussian({p.batch, p.num_kv_heads, p.key_len, p.head_dim}, p.dtype, 2, 1)),
      values(gaussian({p.batch, p.num_kv_heads, p.key_len, p.value_dim}, p.dtype, 3, 1)) {
  if (!with_extra) return;
  for (const ExtraTensor& extra : variant.extra) {
    const Tensor& model = extra.like == ExtraTensor::Like::queries ? queries
                          : extra.like == ExtraTensor::Like::keys  ? keys
                                                                   : values;
    const double deviation = extra.like == ExtraTensor::Like::queries ? temperature : 1;
    extra_.push_back(gaussian(model.shape(), p.dtype, 4 + extra_.size(), deviation));
    like_.push_back(extra.like);
    named_.push_back({extra.name, extra_.back().view()});
  }
}

CaseTensors CaseTensors::copy() const {
  CaseTensors result;
  result.queries = copy_of(queries);
  result.keys = copy_of(keys);
  result.values = copy_of(values);
  result.like_ = like_;
  for (size_t n = 0; n < extra_.size(); ++n) {
    result.extra_.push_back(copy_of(extra_[n]));
    result.named_.push_back({named_[n].name, result.extra_.back().view()});
  }
  return result;
}

void CaseTensors::fill_like(ExtraTensor::Like like, Index row, float value) {
  for (size_t n = 0; n < extra_.size(); ++n) {
    if (like_[n] == like) change_row(extra_[n], row, [value](float) { return value; });
  }
}

void CaseTensors::fill_key(Index j, float value) {
  change_row(keys, j, [value](float) { return value; });
  fill_like(ExtraTensor::Like::keys, j, value);
}

void CaseTensors::fill_value(Index j, float value) {
  change_row(values, j, [value](float) { return value; });
  fill_like(ExtraTensor::Like::values, j, value);
}

void CaseTensors::fill_query(Index i, float value) {
  change_row(queries, i, [value](float) { return value; });
  fill_like(ExtraTensor::Like::queries, i, value);
}

void CaseTensors::scale_key(Index j, float factor) {
  change_row(keys, j, [factor](float element) { return factor * element; });
  for (size_t n = 0; n < extra_.size(); ++n) {
    if (like_[n] != ExtraTensor::Like::keys) continue;
    change_row(extra_[n], j, [factor](float element) { return factor * element; });
  }
}

Case::Case(const Variant& of, const Options& setting, const Shape& shape, bool extra)
    : variant(of),
      options(setting),
      problem(shape.problem),
      long_sequence(shape.long_sequence),
      with_extra(extra),
      traits(of.traits(problem, options)),
      attention(make_attention(of, problem, options)),
      tensors(of, problem, shape.temperature, extra),
      queries(sample_queries(problem.query_len, shape.long_sequence)),
      expected_(static_cast<size_t>(problem.batch * problem.num_heads)),
      full_(expected_.size()) {}

const Result& Case::result() const {
  if (!result_) result_ = run_forward(*attention, inputs());
  return *result_;
}

const ExpectedRows& Case::expected(Index b, Index head) const {
  auto& expected = expected_[slot(b, head)];
  if (!expected) {
    const auto definition = attention->definition(inputs(), b, head);
    const std::span<const Index> first(queries.data(), std::min<size_t>(queries.size(), 1));
    check_rows(definition->rows(first), problem, static_cast<Index>(first.size()));
    expected = expected_rows(*attention, inputs(), *definition, b, head, queries);
    check_rows(expected->rows, problem, static_cast<Index>(queries.size()));
  }
  return *expected;
}

const FullRows& Case::full(Index b, Index head) const {
  auto& full = full_[slot(b, head)];
  if (!full) full = full_attention_rows(problem, inputs(), b, head, queries);
  return *full;
}

bool Case::may_underflow() const {
  constexpr double kLeastExponent = 700;  // exp(-745) is zero
  for (Index b = 0; b < problem.batch; ++b) {
    for (Index h = 0; h < problem.num_heads; ++h) {
      const Eigen::VectorXd& bound = expected(b, h).rows.score_bound;
      if (bound.size() > 0 && 2 * bound.maxCoeff() > kLeastExponent) return true;
    }
  }
  return false;
}

Result run_forward(const Attention& attention, const Inputs& inputs, Context& context) {
  const Problem& p = attention.problem();
  constexpr float kUnwritten = std::numeric_limits<float>::quiet_NaN();
  Result result;
  result.output = Tensor({p.batch, p.num_heads, p.query_len, p.value_dim});
  std::fill_n(result.output.floats(), result.output.size(), kUnwritten);
  Outputs outputs{result.output.mutable_view(), {}};
  if (attention.has_logsumexp()) {
    result.logsumexp = Tensor({p.batch, p.num_heads, p.query_len, 1});
    std::fill_n(result.logsumexp.floats(), result.logsumexp.size(), kUnwritten);
    outputs.logsumexp = result.logsumexp.mutable_view();
  }
  attention.forward(inputs, outputs, context);
  return result;
}

Result run_forward(const Attention& attention, const Inputs& inputs, int threads) {
  Context context(threads);
  return run_forward(attention, inputs, context);
}

Eigen::MatrixXd rows_of(const Tensor& tensor, Index b, Index head, std::span<const Index> queries) {
  const Index dim = tensor.shape()[3];
  Eigen::MatrixXd rows(static_cast<Index>(queries.size()), dim);
  for (Index r = 0; r < rows.rows(); ++r) {
    const float* row = tensor.view().float_row(b, head, queries[static_cast<size_t>(r)]);
    for (Index c = 0; c < dim; ++c) rows(r, c) = static_cast<double>(row[c]);
  }
  return rows;
}

std::optional<std::string> row_difference(const Result& found, const Result& expected, Index b,
                                          Index h, Index i) {
  if (auto text = bit_difference("output", found.output, expected.output, {b, h, i})) return text;
  if (found.logsumexp.empty() || expected.logsumexp.empty()) return std::nullopt;
  return bit_difference("logsumexp", found.logsumexp, expected.logsumexp, {b, h, i});
}

std::optional<std::string> difference(const Result& found, const Result& expected) {
  const auto& shape = expected.output.shape();
  for (Index b = 0; b < shape[0]; ++b) {
    for (Index h = 0; h < shape[1]; ++h) {
      for (Index i = 0; i < shape[2]; ++i) {
        if (auto text = row_difference(found, expected, b, h, i)) return text;
      }
    }
  }
  return std::nullopt;
}

}  // namespace longattn

#include "tests/variants/brute_force.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <sstream>

namespace longattn {
namespace {

// A tensor stored as [batch, len, heads, dim] with gaps behind every row, full of NaN; it begins
// one element into its buffer.
struct Strided {
  Strided(const std::array<Index, 4>& shape, DType dtype, std::uint64_t seed)
      : buffer({1, 1, 1, 1 + shape[0] * shape[2] * shape[1] * (shape[3] + 3)}, dtype) {
    const Index row = shape[3] + 3;
    view = {buffer.bytes_begin() + byte_size(dtype),
            dtype,
            shape,
            {shape[2] * shape[1] * row, row, shape[1] * row}};
    const float nan = std::nanf("");
    for (Index n = 0; n < buffer.size(); ++n) {
      store_floats(dtype, &nan, 1, buffer.bytes_begin() + n * byte_size(dtype));
    }
    const CounterRandom random(seed);
    std::uint64_t counter = 0;
    for (Index b = 0; b < shape[0]; ++b) {
      for (Index h = 0; h < shape[1]; ++h) {
        for (Index i = 0; i < shape[2]; ++i) {
          for (Index c = 0; c < shape[3]; ++c) {
            const auto value = static_cast<float>(random.normal(counter++));
            store_floats(dtype, &value, 1, element(b, h, i, c));
          }
        }
      }
    }
  }
  void* element(Index b, Index h, Index i, Index c) {
    return buffer.bytes_begin() +
           (1 + b * view.strides[0] + h * view.strides[1] + i * view.strides[2] + c) *
               byte_size(view.dtype);
  }
  void poison(Index b, Index h, Index i) {
    const float nan = std::nanf("");
    for (Index c = 0; c < view.dim(); ++c) store_floats(view.dtype, &nan, 1, element(b, h, i, c));
  }
  std::vector<double> row(Index b, Index h, Index i) const {
    std::vector<double> result(static_cast<size_t>(view.dim()));
    load_row(view, b, h, i, result.data());
    return result;
  }

  Tensor buffer;
  ConstTensorView view;
};

struct CaseTensors {
  explicit CaseTensors(const PatternCase& c) {
    const Problem& p = c.problem;
    const std::array<Index, 4> q = {p.batch, p.num_heads, p.query_len, p.head_dim},
                               k = {p.batch, p.num_kv_heads, p.key_len, p.head_dim},
                               v = {p.batch, p.num_kv_heads, p.key_len, p.value_dim};
    std::uint64_t seed = 0;
    for (const auto& shape : {q, k, v}) tensors.emplace_back(shape, p.dtype, ++seed);
    if (c.own_projections.empty()) return;
    for (const auto& shape : {q, k, v}) tensors.emplace_back(shape, p.dtype, ++seed);
    size_t n = 3;
    for (const char* name : {"global_queries", "global_keys", "global_values"}) {
      extra.push_back({name, tensors[n++].view});
    }
  }
  Inputs inputs() const { return {tensors[0].view, tensors[1].view, tensors[2].view, extra}; }

  std::vector<Strided> tensors;  // queries, keys, values, and the same once more if extra
  std::vector<NamedTensor> extra;
};

// The Problem's mask, from the sentences of core/types.h.
bool mask_shows(const Problem& p, Index b, Index i, Index j) {
  const Index t = i + p.key_len - p.query_len;
  if (p.mask.causal && j > t) return false;
  if (!p.mask.key_lengths.empty() && j >= p.mask.key_lengths[static_cast<size_t>(b)]) return false;
  const auto& ids = p.mask.document_ids;
  if (ids.empty()) return true;
  const Index first = static_cast<Index>(ids.size()) == p.key_len ? 0 : b * p.key_len;
  return ids[static_cast<size_t>(first + t)] == ids[static_cast<size_t>(first + j)];
}

bool shows(const PatternCase& c, Index b, Index h, Index i, Index j) {
  return mask_shows(c.problem, b, i, j) && c.pattern(h, c.problem.position(i), j);
}

// softmax(scale q.k + bias) over the keys that the pattern and the mask show, term by term.
class BruteForce final : public Definition {
 public:
  BruteForce(const PatternCase& c, const CaseTensors& t, Index b, Index h)
      : c_(c), t_(t), b_(b), h_(h) {}

  Rows rows(std::span<const Index> queries) const override {
    const Problem& p = c_.problem;
    const auto count = static_cast<Index>(queries.size());
    Rows rows;
    rows.weights = Eigen::MatrixXd::Zero(count, p.key_len);
    rows.score_bound = Eigen::VectorXd::Zero(count);
    rows.logsumexp = Eigen::VectorXd::Constant(count, -std::numeric_limits<double>::infinity());
    rows.value_source.assign(queries.size(), 0);
    for (Index r = 0; r < count; ++r) fill(rows, r, queries[static_cast<size_t>(r)]);
    return rows;
  }

 private:
  void fill(Rows& rows, Index r, Index i) const {
    const Problem& p = c_.problem;
    const Index t = p.position(i), kv = h_ / (p.num_heads / p.num_kv_heads);
    const bool own = c_.own_projections.contains(t);
    if (own) rows.value_source[static_cast<size_t>(r)] = 3;
    const double scale = p.scale.value_or(1 / std::sqrt(static_cast<double>(p.head_dim)));
    const auto q = t_.tensors[own ? 3 : 0].row(b_, h_, i);
    std::map<Index, double> scores;
    double largest = -std::numeric_limits<double>::infinity(), sum = 0;
    for (Index j = 0; j < p.key_len; ++j) {
      if (!shows(c_, b_, h_, i, j)) continue;
      const auto k = t_.tensors[own ? 4 : 1].row(b_, kv, j);
      double dot = 0, bound = 0;
      for (size_t c = 0; c < q.size(); ++c) {
        dot += q[c] * k[c];
        bound += std::abs(q[c] * k[c]);
      }
      double score = scale * dot, added = 0;  // the bias is a term of the score, too
      if (!p.mask.alibi_slopes.empty()) {
        const double bias =
            p.mask.alibi_slopes[static_cast<size_t>(h_)] * static_cast<double>(std::abs(t - j));
        score -= bias;
        added = std::abs(bias);
      }
      scores[j] = score;
      largest = std::max(largest, score);
      rows.score_bound[r] = std::max(rows.score_bound[r], std::abs(scale) * bound + added);
    }
    if (scores.empty()) return;
    for (const auto& [j, score] : scores) sum += std::exp(score - largest);
    for (const auto& [j, score] : scores) rows.weights(r, j) = std::exp(score - largest) / sum;
    rows.logsumexp[r] = largest + std::log(sum);
  }

  const PatternCase& c_;
  const CaseTensors& t_;
  Index b_, h_;
};

std::string described(const PatternCase& c) {
  const Problem& p = c.problem;
  std::ostringstream text;
  text << c.variant->name << " batch " << p.batch << " heads " << p.num_heads << "/"
       << p.num_kv_heads << " queries " << p.query_len << " keys " << p.key_len << " dims "
       << p.head_dim << "," << p.value_dim << " " << to_string(p.dtype)
       << (p.mask.causal ? " causal" : "") << (p.mask.alibi_slopes.empty() ? "" : " alibi")
       << (c.own_projections.empty() ? "" : " own projections");
  const auto list = [&](const char* name, const std::vector<Index>& numbers) {
    if (!numbers.empty()) text << " " << name;
    for (const Index n : numbers) text << " " << n;
  };
  list("key_lengths", p.mask.key_lengths);
  list("documents", p.mask.document_ids);
  for (const auto& [name, value] : c.options) text << " " << name << "=" << value;
  return text.str();
}

// What a forward pass wrote: [batch, heads, query_len, value_dim + 1], logsumexp last. The views
// have gaps, and the gaps must stay as they were.
std::vector<float> passed(const Attention& attention, const Inputs& inputs, int threads) {
  constexpr float kGap = -12345;
  static std::map<int, std::unique_ptr<Context>> contexts;
  auto& context = contexts[threads];
  if (context == nullptr) context = std::make_unique<Context>(threads);
  const Problem& p = attention.problem();
  const Index row = p.value_dim + 2;
  std::vector<float> buffer(static_cast<size_t>(1 + p.batch * p.query_len * p.num_heads * row),
                            kGap);
  std::vector<float> sums(static_cast<size_t>(1 + p.batch * p.query_len * p.num_heads * 3), kGap);
  const TensorView output = {buffer.data() + 1,
                             {p.batch, p.num_heads, p.query_len, p.value_dim},
                             {p.query_len * p.num_heads * row, row, p.num_heads * row}};
  const TensorView logsumexp = {sums.data() + 1,
                                {p.batch, p.num_heads, p.query_len, 1},
                                {p.query_len * p.num_heads * 3, 3, p.num_heads * 3}};
  context->workspace().reset_peak();
  attention.forward(inputs, {output, logsumexp}, *context);
  EXPECT_LE(static_cast<double>(context->workspace().peak_bytes()),
            attention.cost(threads).workspace_bytes);
  std::vector<float> result;
  for (Index b = 0; b < p.batch; ++b) {
    for (Index h = 0; h < p.num_heads; ++h) {
      for (Index i = 0; i < p.query_len; ++i) {
        float* values = output.row(b, h, i);
        result.insert(result.end(), values, values + p.value_dim);
        std::fill_n(values, p.value_dim, kGap);
        result.push_back(*logsumexp.row(b, h, i));
        *logsumexp.row(b, h, i) = kGap;
      }
    }
  }
  for (const auto* gaps : {&buffer, &sums}) {
    EXPECT_TRUE(std::ranges::all_of(*gaps, [&](float x) { return x == kGap; }));
  }
  return result;
}

bool same_bits(const float* a, const float* b, Index count) {
  return std::memcmp(a, b, static_cast<size_t>(count) * sizeof(float)) == 0;
}

void expect_definition(const Rows& rows, const Rows& expected, double head_dim) {
  ASSERT_EQ(rows.weights.rows(), expected.weights.rows());
  ASSERT_EQ(rows.weights.cols(), expected.weights.cols());
  for (Index r = 0; r < expected.weights.rows(); ++r) {
    // Roundings of a score, of exp and of the sum, in double; a factor of four for both sides.
    const double near = std::ldexp(4, -53) * ((head_dim + 8) * (expected.score_bound[r] + 1) +
                                              static_cast<double>(expected.weights.cols()) + 100);
    for (Index j = 0; j < expected.weights.cols(); ++j) {
      ASSERT_EQ(rows.weights(r, j) > 0, expected.weights(r, j) > 0) << "row " << r << " key " << j;
      ASSERT_NEAR(rows.weights(r, j), expected.weights(r, j), near) << "row " << r << " key " << j;
    }
    if (expected.weights.row(r).sum() > 0) {
      ASSERT_NEAR(rows.logsumexp[r], expected.logsumexp[r],
                  near * (1 + std::abs(expected.logsumexp[r])));
      ASSERT_NEAR(rows.score_bound[r], expected.score_bound[r],
                  near * (1 + expected.score_bound[r]));
    } else {
      ASSERT_EQ(rows.logsumexp[r], expected.logsumexp[r]);
    }
    const int source = rows.value_source.empty() ? 0 : rows.value_source[static_cast<size_t>(r)];
    ASSERT_EQ(source, expected.value_source[static_cast<size_t>(r)]);
  }
}

void expect_forward(const Attention& attention, const Inputs& inputs, const BruteForce& brute,
                    Index b, Index h, const float* result) {
  const Problem& p = attention.problem();
  const ExpectedRows expected = expected_rows(attention, inputs, brute, b, h, all_queries(p));
  Eigen::MatrixXd output(p.query_len, p.value_dim);
  const Attention::Rounding rounding = attention.rounding();
  const auto or_else = [](double x, Index y) { return x > 0 ? x : static_cast<double>(y); };
  for (Index i = 0; i < p.query_len; ++i) {
    for (Index c = 0; c < p.value_dim; ++c) output(i, c) = result[i * (p.value_dim + 1) + c];
    const double sum = expected.rows.logsumexp[i];
    const float found = result[i * (p.value_dim + 1) + p.value_dim];
    if (std::isinf(sum)) {
      ASSERT_EQ(found, -std::numeric_limits<float>::infinity()) << "logsumexp of query " << i;
      for (Index c = 0; c < p.value_dim; ++c) ASSERT_EQ(output(i, c), 0) << "query " << i;
      continue;
    }
    // log of a sum whose terms carry the roundings of tolerance.h, then rounded itself.
    const double near = std::ldexp(2, -24) * (or_else(rounding.score_roundings, p.head_dim + 4) *
                                                  (expected.rows.score_bound[i] + 1) +
                                              or_else(rounding.sum_roundings, p.key_len)) +
                        2 * rounding.probability_rounding + std::ldexp(4, -24) * std::abs(sum);
    ASSERT_NEAR(found, sum, near) << "logsumexp of query " << i;
  }
  if (p.query_len > 0 && p.value_dim > 0) {
    ASSERT_LE(worst_ratio(expected, output), 1) << "batch " << b << " head " << h;
  }
}

double shown_pairs(const PatternCase& c) {
  double pairs = 0;
  const Problem& p = c.problem;
  for (Index b = 0; b < p.batch; ++b) {
    for (Index h = 0; h < p.num_heads; ++h) {
      for (Index i = 0; i < p.query_len; ++i) {
        for (Index j = 0; j < p.key_len; ++j) pairs += shows(c, b, h, i, j) ? 1 : 0;
      }
    }
  }
  return pairs;
}

void expect_cost(const PatternCase& c, const Attention& attention) {
  const Cost cost = attention.cost(1);
  PatternCase whole = c;
  whole.problem.mask.document_ids.clear();  // counted without them: they only ever leave fewer
  const double pairs = shown_pairs(whole);
  EXPECT_EQ(cost.scored_pairs, pairs);
  EXPECT_EQ(cost.flops,
            2 * static_cast<double>(c.problem.head_dim + c.problem.value_dim) * cost.scored_pairs);
}

// Keys and values become NaN: first those that no query of their kv head sees, which must change
// nothing, then one more in each kv head, which may change only the queries that see it.
void expect_hidden_stay_unread(const PatternCase& c, const Attention& attention,
                               const std::vector<float>& before, Dice& dice) {
  const Problem& p = c.problem;
  CaseTensors t(c);
  const Index group = p.num_heads / p.num_kv_heads, row = p.value_dim + 1;
  const auto seen = [&](Index b, Index kv, Index j) {
    for (Index h = kv * group; h < (kv + 1) * group; ++h) {
      for (Index i = 0; i < p.query_len; ++i) {
        if (shows(c, b, h, i, j)) return true;
      }
    }
    return false;
  };
  for (Index b = 0; b < p.batch; ++b) {
    for (Index kv = 0; kv < p.num_kv_heads; ++kv) {
      for (Index j = 0; j < p.key_len; ++j) {
        if (seen(b, kv, j)) continue;
        for (size_t n = 1; n < t.tensors.size(); ++n) {
          if (n != 3) t.tensors[n].poison(b, kv, j);
        }
      }
    }
  }
  auto after = passed(attention, t.inputs(), 1);
  ASSERT_TRUE(same_bits(before.data(), after.data(), static_cast<Index>(before.size())))
      << "a key or value that nobody sees";
  if (p.key_len == 0) return;
  const Index poisoned = dice.below(p.key_len);
  for (Index b = 0; b < p.batch; ++b) {
    for (Index kv = 0; kv < p.num_kv_heads; ++kv) {
      for (size_t n = 1; n < t.tensors.size(); ++n) {
        if (n != 3) t.tensors[n].poison(b, kv, poisoned);
      }
    }
  }
  after = passed(attention, t.inputs(), 1);
  for (Index b = 0; b < p.batch; ++b) {
    for (Index h = 0; h < p.num_heads; ++h) {
      for (Index i = 0; i < p.query_len; ++i) {
        if (shows(c, b, h, i, poisoned)) continue;
        const Index at = ((b * p.num_heads + h) * p.query_len + i) * row;
        ASSERT_TRUE(
            same_bits(&before[static_cast<size_t>(at)], &after[static_cast<size_t>(at)], row))
            << "key " << poisoned << " reaches query " << i << " of head " << h;
      }
    }
  }
}

}  // namespace

void expect_as_written_out(const PatternCase& c, Dice& dice) {
  SCOPED_TRACE(described(c));
  const Problem& p = c.problem;
  const auto attention = make_with(*c.variant, p, c.options);
  const CaseTensors t(c);
  const Inputs inputs = t.inputs();
  const std::vector<float> result = passed(*attention, inputs, 1);
  std::vector<Index> backwards = all_queries(p);  // any order, and one query twice
  std::ranges::reverse(backwards);
  if (!backwards.empty()) backwards.push_back(backwards.front());
  for (Index b = 0; b < p.batch; ++b) {
    for (Index h = 0; h < p.num_heads; ++h) {
      const BruteForce brute(c, t, b, h);
      expect_definition(attention->definition(inputs, b, h)->rows(backwards), brute.rows(backwards),
                        static_cast<double>(p.head_dim));
      const Index at = (b * p.num_heads + h) * p.query_len * (p.value_dim + 1);
      expect_forward(*attention, inputs, brute, b, h, result.data() + at);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  expect_cost(c, *attention);
  if (dice.one_in(4)) {
    for (const int threads : {2, 3}) {
      const auto again = passed(*attention, inputs, threads);
      EXPECT_TRUE(same_bits(result.data(), again.data(), static_cast<Index>(result.size())))
          << threads << " threads";
    }
  }
  if (dice.one_in(2)) expect_hidden_stay_unread(c, *attention, result, dice);
  if (traits_with(*c.variant, p, c.options).exact) {
    for (Index h = 0; h < p.num_heads; ++h) {
      for (Index i = 0; i < p.query_len; ++i) {
        for (Index j = 0; j < p.key_len; ++j) {
          ASSERT_TRUE(!mask_shows(p, 0, i, j) || shows(c, 0, h, i, j)) << "declared exact";
        }
      }
    }
  }
}

Problem drawn_problem(Dice& dice, Index longest) {
  Problem p;
  p.key_len = dice.one_in(40)  ? 0
              : dice.one_in(3) ? dice.between(1, longest)
                               : std::min(longest, dice.between(1, 24));
  p.query_len = dice.one_in(2) ? p.key_len : dice.between(1, p.key_len + p.key_len / 2 + 2);
  p.num_kv_heads = dice.between(1, 3);
  p.num_heads = p.num_kv_heads * dice.between(1, 2);
  p.batch = dice.one_in(3) ? 2 : 1;
  p.head_dim = dice.of<Index>({1, 3, 4, 8, 17});
  p.value_dim = dice.of<Index>({1, 2, 5, 8, 19});
  p.dtype = dice.of({DType::float32, DType::float32, DType::bfloat16, DType::float16});
  if (dice.one_in(5)) p.scale = 0.75;
  p.mask.causal = dice.one_in(2);
  if (dice.one_in(4)) {
    for (Index b = 0; b < p.batch; ++b) p.mask.key_lengths.push_back(dice.between(0, p.key_len));
  }
  if (p.query_len <= p.key_len && dice.one_in(3)) {
    const Index count = (dice.one_in(2) ? p.batch : 1) * p.key_len;
    Index document = 5;
    for (Index j = 0; j < count; ++j) {
      if (dice.one_in(7)) document = dice.between(0, 9);
      p.mask.document_ids.push_back(document);
    }
  }
  if (dice.one_in(4)) {
    for (Index h = 0; h < p.num_heads; ++h) {
      p.mask.alibi_slopes.push_back(std::ldexp(1, -static_cast<int>(h)) / 2);
    }
  }
  return p;
}

}  // namespace longattn

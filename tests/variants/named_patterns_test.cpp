// The variants with a named pattern against rows written out from the papers' formulas: one
// predicate for each pattern, a plain softmax in double, and many small problems. Nothing here asks
// a variant which keys it shows.
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <sstream>

#include "core/io/npy.h"
#include "tests/temporary_folder.h"
#include "tests/variants/pattern_testing.h"
#include "variants/bigbird.h"
#include "variants/block_permutation.h"
#include "variants/block_sparse.h"
#include "variants/longformer.h"
#include "variants/sparse_transformer.h"

namespace longattn {
namespace {

// Whether a pattern shows key j to the query at position t of a head.
using Pattern = std::function<bool(Index head, Index t, Index j)>;

struct Case {
  const Variant* variant;
  Problem problem;
  OptionTexts options;
  Pattern pattern;
  std::set<Index> own_projections{};  // positions whose rows read the extra tensors
};

// Numbers that a case is drawn with.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  Index below(Index bound) {
    return static_cast<Index>(random_.below(counter_++, static_cast<std::uint64_t>(bound)));
  }
  Index between(Index first, Index last) { return first + below(last - first + 1); }
  bool one_in(Index n) { return below(n) == 0; }
  template <class T, size_t kCount>
  T of(const T (&list)[kCount]) {
    return list[below(kCount)];
  }

 private:
  CounterRandom random_;
  std::uint64_t counter_ = 0;
};

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
  explicit CaseTensors(const Case& c) {
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

bool shows(const Case& c, Index b, Index h, Index i, Index j) {
  return mask_shows(c.problem, b, i, j) && c.pattern(h, c.problem.position(i), j);
}

// softmax(scale q.k + bias) over the keys that the pattern and the mask show, term by term.
class BruteForce final : public Definition {
 public:
  BruteForce(const Case& c, const CaseTensors& t, Index b, Index h) : c_(c), t_(t), b_(b), h_(h) {}

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

  const Case& c_;
  const CaseTensors& t_;
  Index b_, h_;
};

std::string described(const Case& c) {
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

double shown_pairs(const Case& c) {
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

void expect_cost(const Case& c, const Attention& attention) {
  const Cost cost = attention.cost(1);
  Case whole = c;
  whole.problem.mask.document_ids.clear();  // counted without them: they only ever leave fewer
  const double pairs = shown_pairs(whole);
  EXPECT_EQ(cost.scored_pairs, pairs);
  EXPECT_EQ(cost.flops,
            2 * static_cast<double>(c.problem.head_dim + c.problem.value_dim) * cost.scored_pairs);
}

// Keys and values become NaN: first those that no query of their kv head sees, which must change
// nothing, then one more in each kv head, which may change only the queries that see it.
void expect_hidden_stay_unread(const Case& c, const Attention& attention,
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

void expect_as_written_out(const Case& c, Dice& dice) {
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

// Lengths around small blocks and large tiles, masks of all kinds, few heads.
Problem drawn_problem(Dice& dice, Index longest = 97) {
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

constexpr Index kHuge = Index{1} << 40;
std::string text_of(Index number) { return std::to_string(number); }
std::string text_of(const std::vector<Index>& numbers) { return to_text(OptionValue(numbers)); }
// A size in tokens: 1 .. len + 1, or far beyond.
Index drawn_size(Dice& dice, Index len) {
  return dice.one_in(12) ? kHuge
                         : dice.between(1, dice.one_in(2) ? std::min<Index>(len, 8) + 1 : len + 1);
}
Index remainder(Index a, Index b) { return (a % b + b) % b; }

// Child et al. 2019, section 4.3, causal; and without a mask the extension that the header tells.
Pattern sparse_pattern(const std::string& pattern, const std::string& reading, Index l, Index c) {
  return [=](Index, Index t, Index j) {
    const Index distance = std::abs(t - j);
    if (pattern == "local") return reading == "paper" ? distance <= l : distance < l;
    if (pattern == "strided") return distance < l || remainder(t - j, l) == 0;
    const bool own_block = t >= 0 && j / l == t / l;
    const bool summary = j % l >= l - c || (reading != "code" && j % l == 0);
    return own_block || summary;
  };
}

Case sparse_case(const Problem& p, const std::string& pattern, const std::string& reading,
                 const std::string& stride, Index c) {
  const Index l = stride == "auto"
                      ? std::max<Index>(1, std::lround(std::sqrt(static_cast<double>(p.key_len))))
                      : std::stoll(stride);
  return {&kSparseTransformer,
          p,
          {{"pattern", pattern},
           {"reading", reading},
           {"stride", stride},
           {"expressivity", text_of(c)}},
          sparse_pattern(pattern, reading, l, c)};
}

TEST(NamedPatterns, SparseTransformerInEveryReadingIsTheFormulaOfThePaper) {
  Dice dice(1);
  for (const char* pattern : {"local", "strided", "fixed"}) {
    for (const char* reading : {"code", "paper", "lra"}) {
      for (const Index len : {1, 2, 3, 5, 7, 11, 13}) {
        Problem p = square_problem(len, dice.one_in(2));
        p.query_len = dice.between(1, len + 3);
        for (Index l = 1; l <= len + 1; ++l) {
          expect_as_written_out(
              sparse_case(p, pattern, reading, text_of(l), dice.between(1, l + 1)), dice);
          if (HasFatalFailure()) return;
        }
      }
      for (int n = 0; n < 60; ++n) {
        const Problem p = drawn_problem(dice, dice.one_in(12) ? 331 : 97);
        const std::string stride = dice.one_in(6) ? "auto" : text_of(drawn_size(dice, p.key_len));
        expect_as_written_out(sparse_case(p, pattern, reading, stride, drawn_size(dice, p.key_len)),
                              dice);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Beltagy et al. 2020, section 3.1: a dilated window, and tokens that see and are seen by all.
Case longformer_case(const Problem& p, Index w, Index delta, const std::vector<Index>& global,
                     bool own_projections) {
  const std::set<Index> tokens(global.begin(), global.end());
  Case c = {
      &kLongformer,
      p,
      {{"window", text_of(w)}, {"dilation", text_of(delta)}, {"global_tokens", text_of(global)}},
      [=](Index, Index t, Index j) {
        if (tokens.contains(t) || tokens.contains(j)) return true;
        return std::abs(t - j) <= w * delta && (t - j) % delta == 0;
      }};
  if (own_projections) c.own_projections = tokens;
  return c;
}

TEST(NamedPatterns, LongformerIsTheFormulaOfThePaper) {
  Dice dice(2);
  for (const Index len : {1, 2, 3, 5, 7, 11, 13}) {
    for (Index delta = 1; delta <= len + 1; ++delta) {
      for (Index w = 0; w <= len; w += 1 + w / 2) {
        Problem p = square_problem(len, dice.one_in(2));
        p.query_len = dice.between(1, len + 3);
        std::vector<Index> global;
        if (dice.one_in(2)) global.push_back(dice.below(len));
        expect_as_written_out(longformer_case(p, w, delta, global, dice.one_in(2)), dice);
        if (HasFatalFailure()) return;
      }
    }
  }
  for (int n = 0; n < 350; ++n) {
    const Problem p = drawn_problem(dice, dice.one_in(12) ? 331 : 97);
    std::vector<Index> global;
    if (p.key_len > 0 && dice.one_in(2)) {
      std::set<Index> tokens;
      for (Index count = dice.between(1, 5); count > 0; --count) {
        tokens.insert(dice.below(p.key_len));
      }
      global.assign(tokens.begin(), tokens.end());
      if (dice.one_in(2)) std::ranges::reverse(global);
    }
    const Index delta = dice.one_in(2)    ? 1
                        : dice.one_in(12) ? Index{1} << 20
                                          : dice.between(1, p.key_len / 2 + 2);
    expect_as_written_out(
        longformer_case(p, drawn_size(dice, p.key_len) - 1, delta, global, dice.one_in(2)), dice);
    if (HasFatalFailure()) return;
  }
}

// Patterns of blocks: a query before the first token counts to block 0.
Pattern of_blocks(Index block_size,
                  std::function<bool(Index head, Index row, Index column)> shown) {
  return [=](Index h, Index t, Index j) {
    return shown(h, std::max<Index>(t, 0) / block_size, j / block_size);
  };
}

// Qiu et al. 2020, section 3.1: block R attends to block R + s_h, cyclically.
Case permutation_case(const Problem& p, Index n, const std::vector<Index>& shifts) {
  const Index size = std::max<Index>(1, (p.key_len + n - 1) / n);
  return {&kBlockPermutation,
          p,
          {{"num_blocks", text_of(n)}, {"shifts", shifts.empty() ? "auto" : text_of(shifts)}},
          of_blocks(size, [=](Index h, Index row, Index column) {
            const auto given = static_cast<Index>(shifts.size());
            const Index shift = given == 0 ? h : shifts[static_cast<size_t>(h % given)];
            return column == (row + shift % n) % n;
          })};
}

TEST(NamedPatterns, BlockPermutationIsTheFormulaOfThePaper) {
  Dice dice(3);
  for (const Index len : {1, 2, 3, 5, 7, 11, 13}) {
    for (Index n = 1; n <= len + 2; ++n) {
      Problem p = square_problem(len, dice.one_in(2));
      p.num_heads = p.num_kv_heads = dice.between(1, 4);
      p.query_len = dice.between(1, len + 3);
      expect_as_written_out(permutation_case(p, n, {}), dice);
      if (HasFatalFailure()) return;
    }
  }
  for (int n = 0; n < 300; ++n) {
    const Problem p = drawn_problem(dice, dice.one_in(12) ? 331 : 97);
    std::vector<Index> shifts;
    if (dice.one_in(2)) {
      Index count = dice.between(1, p.num_heads);
      while (p.num_heads % count != 0) --count;
      while (count-- > 0) shifts.push_back(dice.one_in(9) ? kHuge : dice.below(12));
    }
    expect_as_written_out(permutation_case(p, drawn_size(dice, p.key_len), shifts), dice);
    if (HasFatalFailure()) return;
  }
}

Index count_of_blocks(Index len, Index size) { return len / size + (len % size != 0 ? 1 : 0); }

// DeepSpeed's LocalSlidingWindow and Fixed, FlashAttention's butterfly. Whether a last window of
// fewer than 4 blocks has a block for everyone is left open: fixed is causal there, where nobody
// before that window could see it.
Case layout_case(Problem p, Index size, const std::string& layout) {
  if (layout == "fixed" && count_of_blocks(p.key_len, size) % 4 != 0) p.mask.causal = true;
  return {&kBlockSparse,
          p,
          {{"block_size", text_of(size)}, {"layout", layout}},
          of_blocks(size, [=](Index, Index row, Index column) {
            if (layout == "dense") return true;
            if (layout == "local") return std::abs(row - column) <= 1;
            if (layout == "fixed") {
              return row / 4 == column / 4 || column % 4 == 3;
            }
            return std::popcount(static_cast<std::uint64_t>(row ^ column)) <= 1;
          })};
}

TEST(NamedPatterns, BlockSparseWithALayoutByNameIsThatLayout) {
  Dice dice(4);
  for (const char* layout : {"dense", "local", "fixed", "butterfly"}) {
    for (const Index len : {1, 2, 3, 5, 7, 11, 13}) {
      for (Index size = 1; size <= len + 1; ++size) {
        Problem p = square_problem(len, dice.one_in(2));
        p.query_len = dice.between(1, len + 3);
        expect_as_written_out(layout_case(p, size, layout), dice);
        if (HasFatalFailure()) return;
      }
    }
    for (int n = 0; n < 80; ++n) {
      const Problem p = drawn_problem(dice, dice.one_in(12) ? 331 : 97);
      expect_as_written_out(layout_case(p, drawn_size(dice, p.key_len), layout), dice);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(NamedPatterns, BlockSparseWithAFileIsTheFilesLayout) {
  Dice dice(5);
  const TemporaryFolder folder;
  for (int n = 0; n < 250; ++n) {
    const Problem p = drawn_problem(dice, dice.one_in(12) ? 331 : 97);
    if (p.key_len == 0) continue;  // no blocks: no file has that shape
    const Index size = drawn_size(dice, p.key_len), blocks = count_of_blocks(p.key_len, size);
    const bool alike = dice.one_in(2);
    const Index ones = dice.between(1, 4);  // one cell in so many
    std::vector<double> cells(static_cast<size_t>((alike ? 1 : p.num_heads) * blocks * blocks));
    for (double& cell : cells) cell = dice.one_in(ones) ? 1 : 0;
    const std::string path = folder / "layout" + std::to_string(n) + ".npy";
    std::vector<Index> shape = {p.num_heads, blocks, blocks};
    if (alike) shape.erase(shape.begin());
    if (dice.one_in(2)) {
      write_npy(path, shape, cells);
    } else {
      write_npy(path, shape, std::vector<float>(cells.begin(), cells.end()));
    }
    const Pattern pattern = of_blocks(size, [=](Index h, Index row, Index column) {
      const Index at = ((alike ? 0 : h) * blocks + std::min(row, blocks - 1)) * blocks + column;
      return cells[static_cast<size_t>(at)] == 1;
    });
    expect_as_written_out(
        {&kBlockSparse, p, {{"block_size", text_of(size)}, {"layout", path}}, pattern}, dice);
    if (HasFatalFailure()) return;
  }
}

// Which blocks BigBird shows to each block of queries: one token a block, no mask.
std::vector<std::set<Index>> shown_blocks(Index n, Index head, Index window, Index global,
                                          Index random, Index seed) {
  Problem p = square_problem(n);
  p.num_heads = p.num_kv_heads = 6;
  p.head_dim = p.value_dim = 1;
  const auto attention = make_with(kBigbird, p,
                                   {{"block_size", "1"},
                                    {"window_blocks", text_of(window)},
                                    {"global_blocks", text_of(global)},
                                    {"random_blocks", text_of(random)},
                                    {"seed", text_of(seed)}});
  const auto lines = picture(*attention, head);
  std::vector<std::set<Index>> shown;
  for (const std::string& line : lines) {
    shown.emplace_back();
    for (Index j = 0; j < n; ++j) {
      if (line[static_cast<size_t>(j)] == '1') shown.back().insert(j);
    }
  }
  return shown;
}

// pi_(head, R) without R itself, in order: what each further random block adds.
const std::vector<std::vector<Index>>& permutations(Index n, Index head, Index seed) {
  static std::map<std::array<Index, 3>, std::vector<std::vector<Index>>> known;
  auto [at, missing] = known.try_emplace({n, head, seed});
  auto& orders = at->second;
  if (!missing) return orders;
  orders.resize(static_cast<size_t>(n));
  std::vector<std::set<Index>> before = shown_blocks(n, head, 1, 0, 0, seed);
  for (Index random = 1; random < n; ++random) {
    const auto shown = shown_blocks(n, head, 1, 0, random, seed);
    for (size_t row = 0; row < orders.size(); ++row) {
      for (const Index block : shown[row]) {
        if (!before[row].contains(block)) orders[row].push_back(block);
      }
      EXPECT_EQ(orders[row].size(), static_cast<size_t>(random)) << "one block more, and no other";
      EXPECT_TRUE(std::ranges::includes(shown[row], before[row]));
    }
    before = shown;
  }
  return orders;
}

Case bigbird_case(const Problem& p, Index size, Index window, Index global, Index random,
                  Index seed) {
  const Index n = count_of_blocks(p.key_len, size);
  const auto lasting = [=](Index row, Index column) {
    const Index first = (global + 1) / 2, last = global / 2;
    const auto is_global = [&](Index block) { return block < first || block >= n - last; };
    return std::abs(row - column) <= (window - 1) / 2 || is_global(row) || is_global(column);
  };
  std::vector<std::vector<std::set<Index>>> drawn(static_cast<size_t>(p.num_heads));
  for (Index h = 0; h < p.num_heads; ++h) {
    auto& of_head = drawn[static_cast<size_t>(h)];
    of_head.resize(static_cast<size_t>(n));
    if (random == 0) continue;
    for (Index row = 0; row < n; ++row) {
      for (const Index block : permutations(n, h, seed)[static_cast<size_t>(row)]) {
        auto& blocks = of_head[static_cast<size_t>(row)];
        if (static_cast<Index>(blocks.size()) < random && !lasting(row, block)) {
          blocks.insert(block);
        }
      }
    }
  }
  return {&kBigbird,
          p,
          {{"block_size", text_of(size)},
           {"window_blocks", text_of(window)},
           {"global_blocks", text_of(global)},
           {"random_blocks", text_of(random)},
           {"seed", text_of(seed)}},
          of_blocks(size, [=](Index h, Index row, Index column) {
            return lasting(row, column) ||
                   drawn[static_cast<size_t>(h)][static_cast<size_t>(row)].contains(column);
          })};
}

TEST(NamedPatterns, BigBirdIsTheFormulaOfThePaper) {
  Dice dice(6);
  for (const Index len : {1, 2, 3, 5, 7, 11, 13}) {
    for (Index size = 1; size <= len + 1; ++size) {
      for (int n = 0; n < 4; ++n) {
        Problem p = square_problem(len, dice.one_in(2));
        p.query_len = dice.between(1, len + 3);
        expect_as_written_out(bigbird_case(p, size, 1 + 2 * dice.below(4), dice.below(5),
                                           dice.below(4), dice.below(2)),
                              dice);
        if (HasFatalFailure()) return;
      }
    }
  }
  for (int n = 0; n < 300; ++n) {
    const Problem p = drawn_problem(dice, dice.one_in(12) ? 331 : 97);
    const Index size = drawn_size(dice, p.key_len);
    const bool few = count_of_blocks(p.key_len, size) <= 16;
    const Index window = dice.one_in(15) ? kHuge - 1 : 1 + 2 * dice.below(4),
                global = dice.one_in(15) ? kHuge : dice.below(5),
                random = !few              ? 0
                         : dice.one_in(15) ? kHuge
                                           : dice.below(4);
    expect_as_written_out(bigbird_case(p, size, window, global, random, dice.below(2)), dice);
    if (HasFatalFailure()) return;
  }
}

// The first draws of many seeds, heads and rows fall on all other blocks alike.
TEST(NamedPatterns, BigBirdDrawsEveryOtherBlockEquallyOften) {
  constexpr Index kBlocks = 11, kSeeds = 150;
  std::array<double, kBlocks> hits{};
  for (Index seed = 0; seed < kSeeds; ++seed) {
    for (const Index head : {0, 5}) {
      const auto shown = shown_blocks(kBlocks, head, 1, 0, 1, seed);
      for (Index row = 0; row < kBlocks; ++row) {
        const auto& blocks = shown[static_cast<size_t>(row)];
        ASSERT_EQ(blocks.size(), 2U);
        for (const Index block : blocks) {
          hits[static_cast<size_t>(remainder(block - row, kBlocks))] += block != row;
        }
      }
    }
  }
  const double expected = 2.0 * kSeeds * kBlocks / (kBlocks - 1);
  double chi_squared = 0;
  for (size_t n = 1; n < hits.size(); ++n) {
    chi_squared += (hits[n] - expected) * (hits[n] - expected) / expected;
  }
  EXPECT_LT(chi_squared, 33.7);  // 9 degrees of freedom, one in ten thousand
}

}  // namespace
}  // namespace longattn

#include "tests/variants/written_out.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <sstream>

namespace longattn {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The rows of one (batch entry, head), kept.
class Written final : public Definition {
 public:
  explicit Written(Rows all) : all_(std::move(all)) {}

  const Rows& all() const { return all_; }
  Rows rows(std::span<const Index> queries) const override {
    const std::vector<Index> which(queries.begin(), queries.end());
    Rows rows;
    rows.weights = all_.weights(which, Eigen::all);
    if (all_.magnitudes.size() > 0) rows.magnitudes = all_.magnitudes(which, Eigen::all);
    rows.score_bound = all_.score_bound(which);
    if (all_.logsumexp.size() > 0) rows.logsumexp = all_.logsumexp(which);
    if (all_.value_source.empty()) return rows;
    for (const Index i : which) {
      rows.value_source.push_back(all_.value_source[static_cast<size_t>(i)]);
    }
    return rows;
  }

 private:
  Rows all_;
};

std::string described(const WrittenCase& c) {
  const Problem& p = c.problem;
  std::ostringstream text;
  text << c.variant->name << " batch " << p.batch << " heads " << p.num_heads << "/"
       << p.num_kv_heads << " queries " << p.query_len << " keys " << p.key_len << " dims "
       << p.head_dim << "," << p.value_dim << " " << to_string(p.dtype)
       << (p.mask.causal ? " causal" : "") << (p.mask.alibi_slopes.empty() ? "" : " alibi")
       << (c.own_projections ? " own projections" : "");
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
  const bool sums_too = attention.has_logsumexp();
  context->workspace().reset_peak();
  attention.forward(inputs, {output, sums_too ? logsumexp : TensorView{}}, *context);
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
  return count == 0 || std::memcmp(a, b, static_cast<size_t>(count) * sizeof(float)) == 0;
}

void expect_forward(const Attention& attention, const Inputs& inputs, const Written& written,
                    Index b, Index h, const float* result) {
  const Problem& p = attention.problem();
  const ExpectedRows expected = expected_rows(attention, inputs, written, b, h, all_queries(p));
  Eigen::MatrixXd output(p.query_len, p.value_dim);
  const Attention::Rounding rounding = attention.rounding();
  const auto or_else = [](double x, Index y) { return x > 0 ? x : static_cast<double>(y); };
  for (Index i = 0; i < p.query_len; ++i) {
    for (Index c = 0; c < p.value_dim; ++c) output(i, c) = result[i * (p.value_dim + 1) + c];
    if (written.all().logsumexp.size() == 0) continue;
    const double sum = written.all().logsumexp[i];
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

Eigen::MatrixXd values_of(const Problem& p, const DrawnTensors& t, Index b, Index h) {
  Eigen::MatrixXd values(p.key_len, p.value_dim);
  for (Index j = 0; j < p.key_len; ++j) {
    const std::vector<double> row = t.value(b, p.kv_head(h), j);
    for (Index c = 0; c < p.value_dim; ++c) values(j, c) = row[static_cast<size_t>(c)];
  }
  return values;
}

// What holds of every softmax on a subset, whatever the subset. Tolerances: sums of key_len terms
// of double, far below 1e-12 of the largest at these lengths.
void expect_restriction(const Problem& p, const DrawnTensors& t, Index b, Index h,
                        const Rows& rows) {
  constexpr double kNear = 1e-12;
  const Rows full = softmax_rows(p, t, b, h, [](Index, Index) { return 1; });
  const Eigen::MatrixXd values = values_of(p, t, b, h);
  const double largest = values.size() > 0 ? values.cwiseAbs().maxCoeff() : 0;
  for (Index i = 0; i < p.query_len; ++i) {
    if (rows.weights.row(i).sum() == 0) continue;
    double kept = 0, difference = 0, divergence = 0;
    Eigen::VectorXd lost = Eigen::VectorXd::Zero(p.key_len);
    for (Index j = 0; j < p.key_len; ++j) {
      const double exact = full.weights(i, j), weight = rows.weights(i, j);
      ASSERT_TRUE(weight == 0 || exact > 0) << "query " << i << " weighs key " << j;
      difference += std::abs(exact - weight) / 2;
      if (weight > 0) {
        kept += exact;
        divergence += weight * std::log(weight / exact);
      } else {
        lost[j] = exact;
      }
    }
    const double tau = lost.sum();
    ASSERT_NEAR(difference, tau, kNear) << "total variation of query " << i;
    // A mass of 1 - tau carries the roundings of all, so its log those over itself.
    ASSERT_NEAR(divergence, -std::log(kept), kNear / kept) << "divergence of query " << i;
    const Eigen::VectorXd error = values.transpose() *
                                  (full.weights.row(i) - rows.weights.row(i)).transpose(),
                          contrast =
                              values.transpose() * (lost - tau * rows.weights.row(i).transpose());
    ASSERT_LE((error - contrast).cwiseAbs().maxCoeff(), kNear * (1 + largest))
        << "error of query " << i;
  }
}

using AllRows = std::vector<Written>;  // [batch, heads]
const Rows& rows_of(const Problem& p, const AllRows& all, Index b, Index h) {
  return all[static_cast<size_t>(b * p.num_heads + h)].all();
}

// Values, and keys where it is not they who choose, become NaN: first those that no query of their
// kv head weighs, which must change nothing, then one more in each kv head, which may change only
// the queries that weigh it. Keys that choose become NaN where the mask hides them from all.
void expect_hidden_stay_unread(const WrittenCase& c, const Attention& attention, const AllRows& all,
                               const std::vector<float>& before, Dice& dice) {
  const Problem& p = c.problem;
  const bool keys_choose = traits_with(*c.variant, p, c.options).content_based;
  DrawnTensors t(p, c.own_projections);
  const Index group = p.num_heads / p.num_kv_heads, row = p.value_dim + 1;
  const auto weighs = [&](Index b, Index h, Index i, Index j) {
    return rows_of(p, all, b, h).weights(i, j) != 0;
  };
  const auto by_any = [&](Index kv, const std::function<bool(Index h, Index i)>& does) {
    for (Index h = kv * group; h < (kv + 1) * group; ++h) {
      for (Index i = 0; i < p.query_len; ++i) {
        if (does(h, i)) return true;
      }
    }
    return false;
  };
  const auto poison = [&](Index b, Index kv, Index j, bool keys_too) {
    for (size_t n = 1; n < t.tensors.size(); ++n) {
      if (n != 3 && (n % 3 == 2 || keys_too)) t.tensors[n].poison(b, kv, j);
    }
  };
  for (Index b = 0; b < p.batch; ++b) {
    for (Index kv = 0; kv < p.num_kv_heads; ++kv) {
      for (Index j = 0; j < p.key_len; ++j) {
        if (by_any(kv, [&](Index h, Index i) { return weighs(b, h, i, j); })) continue;
        const bool padding = j >= p.visible_key_len(b);
        poison(b, kv, j, !keys_choose || padding);
      }
    }
  }
  auto after = passed(attention, t.inputs(), 1);
  ASSERT_TRUE(same_bits(before.data(), after.data(), static_cast<Index>(before.size())))
      << "a key or value that nobody weighs";
  if (p.key_len == 0) return;
  const Index poisoned = dice.below(p.key_len);
  for (Index b = 0; b < p.batch; ++b) {
    for (Index kv = 0; kv < p.num_kv_heads; ++kv) poison(b, kv, poisoned, !keys_choose);
  }
  after = passed(attention, t.inputs(), 1);
  for (Index b = 0; b < p.batch; ++b) {
    for (Index h = 0; h < p.num_heads; ++h) {
      for (Index i = 0; i < p.query_len; ++i) {
        if (weighs(b, h, i, poisoned)) continue;
        const Index at = ((b * p.num_heads + h) * p.query_len + i) * row;
        ASSERT_TRUE(
            same_bits(&before[static_cast<size_t>(at)], &after[static_cast<size_t>(at)], row))
            << "key " << poisoned << " reaches query " << i << " of head " << h;
      }
    }
  }
}

}  // namespace

void expect_rows(const Rows& rows, const Rows& expected, Index products) {
  ASSERT_EQ(rows.weights.rows(), expected.weights.rows());
  ASSERT_EQ(rows.weights.cols(), expected.weights.cols());
  ASSERT_EQ(rows.logsumexp.size(), expected.logsumexp.size());
  const Eigen::MatrixXd terms =
      expected.magnitudes.size() > 0 ? expected.magnitudes : expected.weights;
  for (Index r = 0; r < expected.weights.rows(); ++r) {
    // Roundings of a score, of exp and of the sum, in double; a factor of four for both sides.
    const double near =
        std::ldexp(4, -53) * (static_cast<double>(products + 8) * (expected.score_bound[r] + 1) +
                              static_cast<double>(expected.weights.cols()) + 100);
    for (Index j = 0; j < expected.weights.cols(); ++j) {
      ASSERT_EQ(rows.weights(r, j) != 0, expected.weights(r, j) != 0)
          << "row " << r << " key " << j;
      ASSERT_NEAR(rows.weights(r, j), expected.weights(r, j), near * std::max(1.0, terms(r, j)))
          << "row " << r << " key " << j;
      if (expected.magnitudes.size() > 0) {
        ASSERT_NEAR(rows.magnitudes(r, j), terms(r, j), near * std::max(1.0, terms(r, j)));
      }
    }
    ASSERT_NEAR(rows.score_bound[r], expected.score_bound[r], near * (1 + expected.score_bound[r]));
    if (expected.logsumexp.size() == 0) continue;
    if (std::isinf(expected.logsumexp[r])) {
      ASSERT_EQ(rows.logsumexp[r], expected.logsumexp[r]);
    } else {
      ASSERT_NEAR(rows.logsumexp[r], expected.logsumexp[r],
                  near * (1 + std::abs(expected.logsumexp[r])));
    }
    const int source = rows.value_source.empty() ? 0 : rows.value_source[static_cast<size_t>(r)];
    ASSERT_EQ(source,
              expected.value_source.empty() ? 0 : expected.value_source[static_cast<size_t>(r)]);
  }
}

void expect_as_written_out(const WrittenCase& c, Dice& dice) {
  SCOPED_TRACE(described(c));
  const Problem& p = c.problem;
  const auto attention = make_with(*c.variant, p, c.options);
  const Traits traits = traits_with(*c.variant, p, c.options);
  const DrawnTensors t(p, c.own_projections);
  const Inputs inputs = t.inputs();
  const std::vector<float> result = passed(*attention, inputs, 1);
  std::vector<Index> backwards = all_queries(p);  // any order, and one query twice
  std::ranges::reverse(backwards);
  if (!backwards.empty()) backwards.push_back(backwards.front());
  AllRows all;
  for (Index b = 0; b < p.batch; ++b) {
    for (Index h = 0; h < p.num_heads; ++h) {
      all.emplace_back(c.rows(t, b, h));
      const auto definition = attention->definition(inputs, b, h);
      expect_rows(definition->rows(backwards), all.back().rows(backwards),
                  c.products > 0 ? c.products : p.head_dim);
      const Index at = (b * p.num_heads + h) * p.query_len * (p.value_dim + 1);
      expect_forward(*attention, inputs, all.back(), b, h, result.data() + at);
      if (traits.rows == Traits::Rows::restricted && !c.own_projections) {
        expect_restriction(p, t, b, h, definition->rows(all_queries(p)));
      }
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  if (dice.one_in(4)) {
    for (const int threads : {2, 3}) {
      const auto again = passed(*attention, inputs, threads);
      EXPECT_TRUE(same_bits(result.data(), again.data(), static_cast<Index>(result.size())))
          << threads << " threads";
    }
  }
  if (dice.one_in(2)) expect_hidden_stay_unread(c, *attention, all, result, dice);
  if (testing::Test::HasFatalFailure() || !traits.exact) return;
  for (Index b = 0; b < p.batch; ++b) {
    for (Index h = 0; h < p.num_heads; ++h) {
      for (Index i = 0; i < p.query_len; ++i) {
        for (Index j = 0; j < p.key_len; ++j) {
          ASSERT_TRUE(!mask_shows(p, b, i, j) || rows_of(p, all, b, h).weights(i, j) > 0)
              << "declared exact";
        }
      }
    }
  }
}

void expect_full_attention(const Variant& variant, const Problem& p, const OptionTexts& options,
                           Dice& dice) {
  const auto rows = [&](const DrawnTensors& t, Index b, Index h) {
    return softmax_rows(p, t, b, h, [](Index, Index) { return 1; });
  };
  expect_as_written_out({&variant, p, options, rows}, dice);
  double pairs = 0;
  for (Index b = 0; b < p.batch; ++b) {
    for (Index i = 0; i < p.query_len; ++i) {
      for (Index j = 0; j < p.key_len; ++j) pairs += mask_shows(p, b, i, j);
    }
  }
  EXPECT_EQ(make_with(variant, p, options)->cost(1).scored_pairs,
            pairs * static_cast<double>(p.num_heads));
}

}  // namespace longattn

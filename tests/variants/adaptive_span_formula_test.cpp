// Adaptive span against Sukhbaatar et al. 2019, section 2.2, written out: m_z(x) = clamp((R + z -
// x) / R, 0, 1) multiplies exp(score).
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "core/io/npy.h"
#include "tests/temporary_folder.h"
#include "tests/variants/written_out.h"
#include "variants/adaptive_span.h"

namespace longattn {
namespace {

struct Span {
  std::vector<double> spans = {0};  // one, or one a head
  double ramp = 32;
  Index offset = 0;
  bool include_self = true;

  double span(Index head) const {
    return spans.size() == 1 ? spans[0] : spans.at(static_cast<size_t>(head));
  }
  double share(Index head, Index t, Index j) const {
    const Index x = std::abs(t - j);
    if (x == 0 && !include_self) return 0;
    const double z = span(head);
    return std::min(std::max((ramp + z - static_cast<double>(x - offset)) / ramp, 0.0), 1.0);
  }
  OptionTexts options(const std::string& file = "") const {
    return {{"span", file.empty() ? to_text(OptionValue(spans)) : file},
            {"ramp", to_text(OptionValue(ramp))},
            {"offset", text_of(offset)},
            {"include_self", include_self ? "true" : "false"}};
  }
};

double pairs_with_a_share(Problem p, const Span& s) {
  p.mask.document_ids.clear();  // they only ever leave fewer
  double pairs = 0;
  for (Index b = 0; b < p.batch; ++b) {
    for (Index h = 0; h < p.num_heads; ++h) {
      for (Index i = 0; i < p.query_len; ++i) {
        for (Index j = 0; j < p.key_len; ++j) {
          pairs += mask_shows(p, b, i, j) && s.share(h, p.position(i), j) > 0;
        }
      }
    }
  }
  return pairs;
}

void expect_formula(const Problem& p, const Span& s, Dice& dice, const std::string& file = "") {
  const auto rows = [&](const DrawnTensors& t, Index b, Index h) {
    return softmax_rows(p, t, b, h, [&](Index i, Index j) { return s.share(h, p.position(i), j); });
  };
  expect_as_written_out({&kAdaptiveSpan, p, s.options(file), rows}, dice);
  const Cost cost = make_with(kAdaptiveSpan, p, s.options(file))->cost(1);
  EXPECT_EQ(cost.scored_pairs, pairs_with_a_share(p, s));
}

Span drawn_span(Dice& dice, Index len, Index heads) {
  Span s;
  s.spans.assign(static_cast<size_t>(dice.one_in(2) ? 1 : heads), 0);
  for (double& z : s.spans) {
    z = dice.one_in(6)    ? 0
        : dice.one_in(15) ? std::ldexp(1, 40)
        : dice.one_in(3)  ? static_cast<double>(dice.below(8 * len + 8)) / 8
                          : static_cast<double>(dice.below(len + 2));
  }
  s.ramp = dice.one_in(4)   ? 1
           : dice.one_in(3) ? 1 + static_cast<double>(dice.below(4 * len + 8)) / 8
           : dice.one_in(9) ? std::ldexp(1, 30)
                            : static_cast<double>(dice.between(1, len + 2));
  s.offset = dice.below(2);
  s.include_self = dice.one_in(2);
  return s;
}

TEST(AdaptiveSpanFormula, IsThePapersOnEveryShortLength) {
  Dice dice(1);
  for (const Index len : {1, 2, 3, 5, 7, 11}) {
    for (const double z : {0.0, 0.5, 1.0, 2.0, 3.25, 10.0, 12.0}) {
      for (const double ramp : {1.0, 1.5, 2.0, 4.0, 32.0}) {
        for (const Index offset : {0, 1}) {
          for (const bool self : {true, false}) {
            Problem p = square_problem(len, dice.one_in(2));
            p.query_len = dice.between(1, len + 3);
            expect_formula(p, {{z}, ramp, offset, self}, dice);
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

TEST(AdaptiveSpanFormula, IsThePapersOnDrawnProblems) {
  Dice dice(2);
  for (int n = 0; n < 500; ++n) {
    const Problem p = drawn_problem(dice, dice.one_in(12) ? 331 : 97);
    expect_formula(p, drawn_span(dice, p.key_len, p.num_heads), dice);
    if (HasFatalFailure()) return;
  }
}

// Tenths are no binary fractions: whether a key at the very edge is weighed is decided by
// roundings, which definition, forward and cost must share. And the ramp must be as exact far out
// as near by.
TEST(AdaptiveSpanFormula, IsThePapersWithSpansInTenthsAndFarOut) {
  Dice dice(7);
  for (int n = 0; n < 300; ++n) {
    Problem p = drawn_problem(dice, 41);
    const bool far = n % 20 == 0;
    if (far) {
      p = square_problem(20011, dice.one_in(2));
      p.query_len = 3;
    }
    const Index longest = far ? p.key_len : p.key_len / 2 + 1;
    const Span s{{static_cast<double>(dice.below(10 * longest)) / 10},
                 static_cast<double>(dice.between(10, 200)) / 10,
                 dice.below(2),
                 true};
    expect_formula(p, s, dice);
    if (HasFatalFailure()) return;
  }
}

TEST(AdaptiveSpanFormula, TakesTheSpansOfAFile) {
  const TemporaryFolder folder;
  Dice dice(3);
  for (int n = 0; n < 12; ++n) {
    Problem p = drawn_problem(dice, 31);
    Span s = drawn_span(dice, p.key_len, p.num_heads);
    const std::string path = folder / "spans.npy";
    const Index count = static_cast<Index>(s.spans.size());
    write_npy(path, std::array{count}, s.spans);
    expect_formula(p, s, dice, path);
    if (HasFatalFailure()) return;
  }
}

// z = 0, R = 4, token by token, as the paper writes it: distance x = 0, 1, 2, 3, 4 gets m = (4 - x)
// / 4 = 1, 3/4, 1/2, 1/4, 0; as its program computes it, m(x - 1): x = 1 .. 4 gets 1, 3/4, 1/2, 1/4
// and the token itself 1, because 5/4 is cut off. Scores are all equal here (queries of zeros), so
// W is m over its sum.
TEST(AdaptiveSpanFormula, RampOfFourTokensByHand) {
  Problem p = square_problem(5, true);
  ProblemTensors t(p);
  std::fill_n(t.queries.floats(), t.queries.size(), 0.0F);
  Eigen::MatrixXd paper(5, 5), code(5, 5), without_self(5, 5);
  paper << 1, 0, 0, 0, 0,                           //
      3 / 7., 4 / 7., 0, 0, 0,                      // 3/4 + 1 = 7/4
      2 / 9., 3 / 9., 4 / 9., 0, 0,                 // 1/2 + 3/4 + 1 = 9/4
      1 / 10., 2 / 10., 3 / 10., 4 / 10., 0,        // 10/4
      0, 1 / 10., 2 / 10., 3 / 10., 4 / 10.;        // the first is at distance 4
  code << 1, 0, 0, 0, 0,                            //
      1 / 2., 1 / 2., 0, 0, 0,                      // 1 + 1
      3 / 11., 4 / 11., 4 / 11., 0, 0,              // 3/4 + 1 + 1 = 11/4
      2 / 13., 3 / 13., 4 / 13., 4 / 13., 0,        // 13/4
      1 / 14., 2 / 14., 3 / 14., 4 / 14., 4 / 14.;  // 14/4
  without_self << 0, 0, 0, 0, 0,                    // nobody before it
      1, 0, 0, 0, 0,                                //
      3 / 7., 4 / 7., 0, 0, 0,                      // 3/4 + 1
      2 / 9., 3 / 9., 4 / 9., 0, 0,                 //
      1 / 10., 2 / 10., 3 / 10., 4 / 10., 0;        //
  const auto weights = [&](const Span& s) {
    return all_weights(*make_with(kAdaptiveSpan, p, s.options()), t.inputs());
  };
  EXPECT_LT((weights({{0}, 4, 0, true}) - paper).cwiseAbs().maxCoeff(), 1e-15);
  EXPECT_LT((weights({{0}, 4, 1, true}) - code).cwiseAbs().maxCoeff(), 1e-15);
  EXPECT_LT((weights({{0}, 4, 1, false}) - without_self).cwiseAbs().maxCoeff(), 1e-15);
  const Rows rows =
      all_rows(*make_with(kAdaptiveSpan, p, Span{{0}, 4, 0, true}.options()), t.inputs());
  EXPECT_NEAR(rows.logsumexp[4], std::log(10 / 4.), 1e-14);  // scores are 0
}

// The smallest span there is: "z = 0, R = 1 (as in the program): only the previous token".
TEST(AdaptiveSpanFormula, TheSmallestSpanOfThePublishedCodeIsThePreviousToken) {
  const Problem p = square_problem(5, true);
  EXPECT_EQ(picture(*make_with(kAdaptiveSpan, p, Span{{0}, 1, 1, false}.options())),
            (std::vector<std::string>{"00000", "10000", "01000", "00100", "00010"}));
  EXPECT_EQ(picture(*make_with(kAdaptiveSpan, p, Span{{0}, 1, 0, true}.options())),
            (std::vector<std::string>{"10000", "01000", "00100", "00010", "00001"}));
}

TEST(AdaptiveSpanFormula, ASpanOverTheSequenceIsFullAttentionWithOrWithoutTheDiagonal) {
  Dice dice(4);
  for (int n = 0; n < 40; ++n) {
    const Problem p = drawn_problem(dice, 61);
    const bool self = dice.one_in(2);
    const Index offset = dice.below(2), farthest = std::max(p.key_len, p.query_len) - 1;
    Span s{{static_cast<double>(std::max<Index>(0, farthest - offset))}, 1, offset, self};
    s.ramp = 1 + static_cast<double>(dice.below(9));
    const auto rows = [&](const DrawnTensors& t, Index b, Index h) {
      return softmax_rows(p, t, b, h, [&](Index i, Index j) { return self || j != p.position(i); });
    };
    expect_as_written_out({&kAdaptiveSpan, p, s.options(), rows}, dice);
    if (HasFatalFailure()) return;
    EXPECT_TRUE(!self ||
                traits_with(kAdaptiveSpan, p, s.options()).rows == Traits::Rows::restricted);
  }
}

// With P full attention and <m, P> = sum_j m_ij P_ij, what a soft mask leaves is W = m P / <m, P>,
// and KL(W || P) = sum_j W_ij log m_ij - log <m, P>.
TEST(AdaptiveSpanFormula, DivergenceFromFullAttentionIsThatOfASoftMask) {
  Dice dice(5);
  for (int n = 0; n < 60; ++n) {
    const Problem p = drawn_problem(dice, 47);
    const Span s = drawn_span(dice, p.key_len, p.num_heads);
    const DrawnTensors t(p);
    const auto attention = make_with(kAdaptiveSpan, p, s.options());
    for (Index h = 0; h < p.num_heads; ++h) {
      const Rows full = softmax_rows(p, t, 0, h, [](Index, Index) { return 1; });
      const Eigen::MatrixXd w = all_weights(*attention, t.inputs(), h);
      for (Index i = 0; i < p.query_len; ++i) {
        double captured = 0, divergence = 0, of_mask = 0;
        for (Index j = 0; j < p.key_len; ++j) {
          const double m = s.share(h, p.position(i), j);
          captured += m * full.weights(i, j);
          if (w(i, j) == 0) continue;
          divergence += w(i, j) * std::log(w(i, j) / full.weights(i, j));
          of_mask += w(i, j) * std::log(m);
        }
        if (captured == 0) continue;
        for (Index j = 0; j < p.key_len; ++j) {
          ASSERT_NEAR(w(i, j) * captured, s.share(h, p.position(i), j) * full.weights(i, j), 1e-12);
        }
        // A rounding of the mass counts as much more as the mass is less.
        ASSERT_NEAR(divergence, of_mask - std::log(captured), 1e-12 / captured);
      }
    }
  }
}

TEST(AdaptiveSpanFormula, ALargerSpanNeverCapturesLess) {
  Problem p = square_problem(41, true);
  p.mask.alibi_slopes = {0.125};
  const DrawnTensors t(p);
  const Rows full = softmax_rows(p, t, 0, 0, [](Index, Index) { return 1; });
  Eigen::VectorXd before = Eigen::VectorXd::Zero(p.query_len);
  for (double z = 0; z < 48; z += 0.75) {
    const Span s{{z}, 7.5, 0, true};
    const auto captured = [&](Index i) {
      double mass = 0;
      for (Index j = 0; j < p.key_len; ++j) mass += s.share(0, i, j) * full.weights(i, j);
      return mass;
    };
    const Rows rows = all_rows(*make_with(kAdaptiveSpan, p, s.options()), t.inputs());
    for (Index i = 0; i < p.query_len; ++i) {
      // exp(logsumexp) over that of full attention is the captured mass.
      const double mass = std::exp(rows.logsumexp[i] - full.logsumexp[i]);
      ASSERT_NEAR(mass, captured(i), 1e-13);
      ASSERT_GE(mass, before[i] - 1e-13);
      before[i] = mass;
    }
  }
  EXPECT_NEAR(before.minCoeff(), 1, 1e-13);
}

// "sum_h sum_t min(t + 1, ceil(z_h + R) + offset)", less the token itself if left out.
TEST(AdaptiveSpanFormula, CausalPairsAreTheHeadersSum) {
  Dice dice(6);
  for (int n = 0; n < 60; ++n) {
    Problem p = square_problem(dice.between(1, 200), true);
    p.num_heads = p.num_kv_heads = dice.between(1, 3);
    const Span s = drawn_span(dice, p.key_len, p.num_heads);
    double pairs = 0;
    for (Index h = 0; h < p.num_heads; ++h) {
      const double reach = std::ceil(s.span(h) + s.ramp) + static_cast<double>(s.offset);
      for (Index t = 0; t < p.query_len; ++t) {
        pairs += std::min(static_cast<double>(t + 1), reach) - (s.include_self ? 0 : 1);
      }
    }
    EXPECT_EQ(make_with(kAdaptiveSpan, p, s.options())->cost(1).scored_pairs, pairs);
  }
}

TEST(AdaptiveSpanFormula, SpansOfTheWrongNumberAreRefused) {
  Problem p = square_problem(5);
  p.num_heads = p.num_kv_heads = 3;
  EXPECT_THROW(make_with(kAdaptiveSpan, p, {{"span", "[1, 2]"}}), Error);
  EXPECT_THROW(make_with(kAdaptiveSpan, p, {{"span", "[]"}}), Error);
  EXPECT_THROW(make_with(kAdaptiveSpan, p, {{"span", "-1"}}), OptionError);
  EXPECT_THROW(make_with(kAdaptiveSpan, p, {{"ramp", "0.5"}}), OptionError);
  const TemporaryFolder folder;
  for (const double wrong : {-1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    const std::vector<double> spans = {1, wrong, 2};
    write_npy(folder / "spans.npy", std::array{Index{3}}, spans);
    EXPECT_THROW(make_with(kAdaptiveSpan, p, {{"span", folder / "spans.npy"}}), Error) << wrong;
  }
}

}  // namespace
}  // namespace longattn

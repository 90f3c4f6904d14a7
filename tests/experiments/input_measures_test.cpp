#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numbers>

#include "experiments/inputs/generators.h"
#include "experiments/judge/inputs.h"
#include "experiments/judge/window_mass.h"
#include "experiments/report/csv.h"
#include "experiments/report/inputs.h"
#include "experiments/serialize.h"
#include "tests/experiments/report_fixture.h"

namespace longattn {
namespace {

using ::testing::HasSubstr;

Problem one_head(Index queries, Index keys, Index dim) {
  Problem p;
  p.num_heads = p.num_kv_heads = 1;
  p.query_len = queries;
  p.key_len = keys;
  p.head_dim = p.value_dim = dim;
  p.scale = 1;
  return p;
}

InputResult measure(const Problem& p, const Tensor& queries, const Tensor& keys,
                    const InputSource* source = nullptr, Index rows = 1000) {
  Context context(2);
  return measure_input(p, {queries.view(), keys.view(), keys.view(), {}}, source,
                       {.rows = rows, .seed = 1}, context);
}

TEST(InputMeasures, OfEqualScores) {
  const Problem p = one_head(1, 101, 4);  // the query stands at token 100
  const Tensor queries({1, 1, 1, 4});
  Tensor keys({1, 1, 101, 4});
  keys.floats()[0] = 1;  // not all alike, but no query looks at it
  const InputResult m = measure(p, queries, keys);
  EXPECT_EQ(m.sampled_rows, 1);
  EXPECT_EQ(m.score_deviation->value, 0);
  EXPECT_NEAR(m.row_entropy->value, std::log(101), 1e-12);
  EXPECT_NEAR(*m.uniform_entropy, std::log(101), 1e-12);
  EXPECT_NEAR(m.first_tokens_mass->value, 4.0 / 101, 1e-12);
  EXPECT_EQ(m.half_mass_distance->value, 50);  // keys 50 to 100: 51 of 101
  EXPECT_EQ(*m.effective_rank, 0);
  EXPECT_FALSE(m.planted_mass);
}

// Query i scores 50 on key i - 3 and 0 elsewhere: all mass three tokens back, and the scores are 50
// times a unit matrix, of full rank.
TEST(InputMeasures, OfOneKeyThatTakesAll) {
  constexpr Index n = 16;
  const Problem p = one_head(n, n, n);
  Tensor queries({1, 1, n, n}), keys({1, 1, n, n});
  for (Index i = 0; i < n; ++i) {
    queries.floats()[i * n + (i + n - 3) % n] = 50;
    keys.floats()[i * n + i] = 1;
  }
  const InputResult m = measure(p, queries, keys);
  EXPECT_EQ(m.sampled_rows, n);
  // One score of 50 among 16: variance 50^2 (1/16) of n - 1 degrees of freedom.
  EXPECT_NEAR(m.score_deviation->value, 50.0 / 4, 1e-9);
  EXPECT_LT(m.row_entropy->value, 1e-15);
  EXPECT_NEAR(m.first_tokens_mass->value, 4.0 / n, 1e-12);
  EXPECT_EQ(m.half_mass_distance->value, 3);    // of 13 rows; 13 of the three that wrap around
  EXPECT_NEAR(*m.effective_rank, n - 1, 1e-6);  // the mean key is taken out
  ASSERT_EQ(m.heads.size(), 1u);
  EXPECT_EQ(*m.heads[0].window_99, 13) << "13 of 16 rows would be within 3";
  EXPECT_NEAR(*m.heads[0].first_tokens_mass, m.first_tokens_mass->value, 1e-15);
  EXPECT_NEAR(m.heads[0].window_mass.at(0), 1, 1e-12);
}

// Head 0 looks at the token itself, head 1 at the first one: pooled, neither would be seen.
TEST(InputMeasures, OfHeadsAreToldApart) {
  constexpr Index n = 64;
  Problem p = one_head(n, n, n);
  p.num_heads = 2;
  Tensor queries({1, 2, n, n}), keys({1, 1, n, n});
  for (Index i = 0; i < n; ++i) {
    queries.floats()[i * n + i] = 50;
    queries.floats()[(n + i) * n] = 50;
    keys.floats()[i * n + i] = 1;
  }
  const InputResult m = measure(p, queries, keys);
  ASSERT_EQ(m.heads.size(), 2u);
  EXPECT_EQ(m.heads[0].sampled_rows, n);
  EXPECT_EQ(*m.heads[0].window_99, 0);
  EXPECT_NEAR(*m.heads[0].first_tokens_mass, 4.0 / n, 1e-12);
  // Of 64 rows one may lie outside: 62 / 64 < 0.99 <= 64 / 64, and the grid has no 63.
  EXPECT_EQ(*m.heads[1].window_99, 64);
  EXPECT_NEAR(*m.heads[1].first_tokens_mass, 1, 1e-12);
  EXPECT_NEAR(m.heads[1].window_mass.at(0), 17.0 / n, 1e-12) << "rows 0 to 16";
  InputResult odd = m;  // what an infinite key makes of it
  odd.heads[0].window_mass[1] = std::nan("");
  EXPECT_TRUE(std::isnan(
      input_from_json(nlohmann::json::parse(to_json(odd).dump())).heads[0].window_mass[1]));
  const InputResult read = input_from_json(to_json(m));
  EXPECT_EQ(to_json(read), to_json(m));
  EXPECT_EQ(read.heads[1].window_mass, m.heads[1].window_mass);
}

TEST(WindowMass, CountsBothSidesAsFarAsThereAreKeys) {
  const Eigen::VectorXd weights{{0.1, 0.2, 0.3, 0.4}};
  const std::vector<double> masses = masses_within(weights, 1, {0, 1, 2, 9});
  for (const auto& [found, expected] : {std::pair(masses.at(0), 0.2),
                                        {masses.at(1), 0.6},
                                        {masses.at(2), 1.0},
                                        {masses.at(3), 1.0}}) {
    EXPECT_NEAR(found, expected, 1e-15);
  }
}

TEST(WindowMass, GridHasTheWindowsThatAreTold) {
  for (const Index key_len : {1, 17, 1000, 1 << 20}) {
    const std::vector<Index> grid = window_grid(key_len);
    EXPECT_TRUE(std::ranges::is_sorted(grid, std::less_equal{}));
    EXPECT_GE(grid.back(), key_len - 1);
    for (const Index window : kMassWindows) {
      if (window < key_len) EXPECT_TRUE(std::ranges::count(grid, window) == 1) << window;
    }
  }
}

TEST(InputMeasures, AreTheSameForAnyNumberOfThreads) {
  Problem p = one_head(300, 300, 8);
  p.mask.causal = true;
  const InputSpec spec = generated_input("gaussian");
  const InputTensors t = make_inputs(spec, p);
  std::string first;
  for (const int threads : {1, 3}) {
    Context context(threads);
    const std::string text =
        to_json(measure_input(p, {t.queries.view(), t.keys.view(), t.values.view(), {}}, nullptr,
                              {.rows = 40, .seed = 1}, context))
            .dump();
    if (threads == 1) first = text;
    EXPECT_EQ(text, first);
  }
}

struct Promise {
  const char* generator;
  std::vector<std::pair<std::string, std::string>> options;
  Index query_len, key_len;
  bool causal;
  DType dtype = DType::float32;
};
void PrintTo(const Promise& promise, std::ostream* out) { *out << promise.generator; }

class InputPromise : public ::testing::TestWithParam<Promise> {
 protected:
  InputPromise() {
    const Promise& promise = GetParam();
    problem_.num_heads = 4;
    problem_.num_kv_heads = 2;
    problem_.query_len = promise.query_len;
    problem_.key_len = promise.key_len;
    problem_.head_dim = 64;
    problem_.value_dim = 1;
    problem_.dtype = promise.dtype;
    problem_.mask.causal = promise.causal;
    spec_ = generated_input(promise.generator, promise.options);
    const InputTensors t = make_inputs(spec_, problem_);
    const auto source = source_of(spec_, problem_);
    Context context(2);
    measured_ = measure_input(problem_, {t.queries.view(), t.keys.view(), t.values.view(), {}},
                              source.get(), {.rows = kRows, .seed = 1}, context);
    asked_ = target_of(spec_, problem_)->asked;
  }

  double option(const std::string& name) const {
    for (const auto& [key, text] : spec_.options) {
      if (key == name) return std::stod(text);
    }
    return 0;
  }

  // How far chance may move the planted mass m. `variance(n)` is that of the logarithm of a row's
  // odds with n visible keys: it moves the row's mass by at most m (1 - m) times its half in the
  // mean (second order; twice that), and by m (1 - m) times its root by chance; where it is above 1
  // anything may come. Two rows of the same kv head share keys, and so this part of the variance.
  // Four deviations.
  double planted_bound(const std::function<double(double)>& variance, double shared) const {
    const double m = asked_, spread = m * (1 - m);
    double bias = 0, variances = 0;
    for (Index i = 0; i < problem_.query_len; ++i) {
      const double v = variance(static_cast<double>(problem_.visible_end(0, i)));
      bias += v < 1 ? spread * v : std::max(m, 1 - m);
      variances += std::min(v, 1.0);
    }
    const auto queries = static_cast<double>(problem_.query_len);
    const double rows = std::min(kRows / 2.0, 2 * queries);  // of each of the two kv heads
    const double mean_variance = variances / queries * (shared + (1 - shared) / rows) / 2;
    // bfloat16 moves a score by 2^-8 of its size, which is below 16 here, once for all sinks.
    const double storage = problem_.dtype == DType::float32 ? 1e-5 : spread * 16 * 0x1p-8;
    return bias / queries + 4 * spread * std::sqrt(mean_variance) + storage;
  }

  static constexpr Index kRows = 512;
  Problem problem_;
  InputSpec spec_;
  InputResult measured_;
  double asked_ = 0;
};

TEST_P(InputPromise, IsKeptWithinItsBound) {
  const auto n = static_cast<double>(problem_.key_len);
  const auto queries = static_cast<double>(problem_.query_len);
  const double d = 64, temperature = option("temperature");
  const double t2 = temperature * temperature;
  double bound = 0, measured = 0;
  const std::string_view name = spec_.generator;
  if (name == "gaussian") {
    // Of its square: 2 / (d rows) by the lengths of queries, 2 / (d n) by those of keys, of which
    // causal rows see n / 2 in the mean; half as much of itself; rounded up by 5 deviations.
    const double rows = std::min<double>(kRows, 4 * queries);
    measured = measured_.score_deviation->value;
    bound = 5 * asked_ * std::sqrt(2 / (d * rows) + 4 / (d * n)) / 2;
  } else if (name == "low_rank") {
    // Eigenvalues of a sample covariance of n normal vectors in r dimensions vary by r / n of their
    // square (Marchenko-Pastur), singular values by a quarter of the sum over queries and keys, and
    // entropy loses half of that; twice as much.
    const double r = asked_, variance = (r / queries + r / n) / 4;
    measured = *measured_.effective_rank;
    bound = 2 * r * variance / 2;
    EXPECT_LE(measured, r + 1e-9);
  } else if (name == "local") {
    const double curve = asked_ / 0.67449;
    const double near = (problem_.mask.causal ? 0.5 : 1) * curve * std::sqrt(2 * std::numbers::pi);
    const double far = n * std::exp(16 * std::log(std::cyl_bessel_i(0.0, 20.0 / 16)) - 20) / near;
    // Whole tokens; the next term of the curve (2 %); far keys (their share over twice the density
    // at the median, 1.2); beginnings, where a causal row is short; and the noise: the mass within
    // the distance varies by sqrt(exp(T^2) / near) / 2, the distance by that over the density
    // there, 2.4 of itself, and its median over rows by 1.25 / sqrt(rows) of that; 5 deviations.
    measured = measured_.half_mass_distance->value;
    bound = 1 + asked_ * (0.02 + 1.2 * far + (problem_.mask.causal ? 2 * curve / n : 0) +
                          5 * 1.25 * 2.4 * std::sqrt(std::exp(t2) / near) / 2 / std::sqrt(kRows));
  } else {
    measured = measured_.planted_mass->value;
    const double count = option("count"), spread = option("spread");
    if (name == "clustered") {
      // Own and other clusters each have visible / clusters keys, give or take its root; and keys
      // around their centre: spread^2 (T^2 + sigma^2 / d), sigma^2 / d < 1. Rows of one cluster
      // share its excess of keys (over all clusters excesses sum to zero).
      const double noise = std::exp(spread * spread * (t2 + 1)), clusters = option("clusters");
      bound = planted_bound([&](double visible) { return 2 * clusters / visible * noise; },
                            1 / clusters);
    } else {
      // The sum of n weights exp(s q.k) varies by (exp(v) - 1) / n of its square, v = s^2 |q|^2;
      // the sums of two queries together by (exp(s^2 q.q') - 1) / n, q.q' normal of deviation |q|^2
      // / sqrt(d): exp(v^2 / 2 d) - 1 in the mean. Needles raise |q|: (2) of families.h.
      const double w2 = name == "needle" ? count / (d - count - 1) : 0;
      const auto v = [&](double others) {
        const double level = std::log(asked_ / (1 - asked_)) + std::log(others / count) + t2 / 2;
        const double sigma = 2 * level / (1 + std::sqrt(1 - 2 * w2 * level));
        return t2 + sigma * sigma * w2;
      };
      const double largest = v(n - count);
      const double shared =
          std::expm1(largest * largest / (2 * d)) / std::expm1(std::max(largest, 1e-9));
      bound = planted_bound(
          [&](double visible) {
            return visible > count ? std::expm1(v(visible - count)) / (visible - count) : 1;
          },
          shared);
    }
    // A bound that sees a wrong share.
    EXPECT_LT(bound, 0.06);
  }
  EXPECT_NEAR(measured, asked_, bound);
  EXPECT_LT(bound, 0.25 * asked_);
}

INSTANTIATE_TEST_SUITE_P(
    , InputPromise,
    ::testing::Values(
        Promise{"gaussian", {}, 512, 512, false}, Promise{"gaussian", {}, 1500, 1500, true},
        Promise{"gaussian", {{"temperature", "4"}}, 64, 2048, true},
        Promise{"low_rank", {}, 512, 512, true},
        Promise{"low_rank", {{"rank", "64"}}, 3000, 3000, true},
        Promise{"low_rank", {{"rank", "16"}, {"temperature", "5"}}, 600, 1000, false},
        Promise{"clustered", {}, 8192, 8192, false},
        Promise{"clustered", {{"clusters", "64"}, {"mass", "0.9"}}, 256, 16384, true},
        Promise{"clustered", {{"clusters", "4"}, {"spread", "0.1"}}, 4096, 4096, true},
        Promise{"local", {}, 2048, 2048, true},
        Promise{"local", {{"half_mass_distance", "20"}}, 1024, 1024, false},
        Promise{"local", {{"half_mass_distance", "200"}, {"temperature", "0.5"}}, 300, 8192, true},
        Promise{"local", {}, 2048, 2048, true, DType::bfloat16},
        Promise{"needle", {}, 2048, 2048, true},
        Promise{"needle", {{"count", "4"}, {"mass", "0.3"}}, 1024, 1024, false},
        Promise{"needle", {{"mass", "0.2"}}, 100, 20000, true},
        Promise{"needle", {}, 2048, 2048, true, DType::bfloat16},
        Promise{"sinks", {}, 1024, 1024, true},
        Promise{"sinks", {{"count", "1"}, {"mass", "0.9"}}, 200, 20000, false},
        Promise{"sinks", {{"count", "8"}, {"temperature", "0.5"}}, 2048, 2048, true},
        Promise{"sinks", {}, 2048, 2048, true, DType::bfloat16}),
    [](const auto& test) {
      const Promise& p = test.param;
      return std::string(p.generator) + std::to_string(test.index) + "Queries" +
             std::to_string(p.query_len) + "Keys" + std::to_string(p.key_len);
    });

InputResult example(const std::string& cell) {
  InputResult input;
  input.cell_id = cell;
  input.sampled_rows = 256;
  input.score_deviation = Estimate{1.75, 1.7, 1.8};
  input.row_entropy = Estimate{3.25, 3, 3.5};
  input.uniform_entropy = 8;
  input.half_mass_distance = Estimate{61, 60, 62};
  input.first_tokens_mass = Estimate{0.015625, 0.01, 0.02};
  input.effective_rank = 12.5;
  input.planted_mass = Estimate{0.5625, 0.5, 0.625};
  input.planted = "needles";
  input.target = "planted_mass";
  input.asked = 0.55;
  return input;
}

TEST(InputResults, ComeBackFromTheJournal) {
  const InputResult input = example("abc");
  EXPECT_EQ(to_json(input_from_json(to_json(input))), to_json(input));
}

TEST(InputResults, AreReportedWithWhatWasAsked) {
  RunResults results = testing::realistic_results();
  results.inputs = {example(results.cells[24].cell.id), example(results.cells[27].cell.id)};
  const std::vector<Block> blocks = arrange(results);
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_EQ(input_sentence(results, blocks[0]), "");  // of the trace nothing was measured
  const std::string sentence = input_sentence(results, blocks[1]);
  EXPECT_THAT(sentence,
              HasSubstr("at 8,192 tokens: mass of its needles 0.562 ±11% (asked: 0.550)"));
  EXPECT_THAT(sentence, HasSubstr("3.25 ±7.7% of 8.00 nats"));
  EXPECT_THAT(sentence, HasSubstr("1.6% on the first 4"));
  const std::string table = input_table(results, blocks);
  EXPECT_THAT(table, HasSubstr("<td title=\"0.55\">0.550</td>"
                               "<td title=\"0.5625 [0.5, 0.625]\">"));
  const std::string csv = to_csv(inputs_table(results));
  EXPECT_THAT(csv, HasSubstr("planted_mass,0.55,1.75,1.7,1.8,3.25,"));
}

}  // namespace
}  // namespace longattn

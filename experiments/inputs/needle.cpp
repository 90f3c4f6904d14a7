#include <fmt/format.h>

#include <Eigen/Dense>
#include <cmath>
#include <vector>

#include "core/random.h"
#include "experiments/inputs/families.h"
#include "experiments/inputs/normal_rows.h"

namespace longattn {
namespace {

// The score of needles, sigma, out of (2) of families.h with |q|^2 = |r|^2 + (sigma / s)^2 |w|^2:
//   sigma = level + sigma^2 w2 / 2.
// The smaller root; where there is none, the sigma that comes nearest.
double needle_score(double level, double w2) {
  const double discriminant = 1 - 2 * w2 * level;
  return discriminant > 0 ? 2 * level / (1 + std::sqrt(discriminant)) : 1 / w2;
}

class Needle final : public NormalValues {
 public:
  Needle(const Problem& p, const Options& o)
      : NormalValues(p, o),
        count_(o.integer("count")),
        log_odds_(log_odds(o.number("mass"))),
        deviation_(query_deviation(p, o.number("temperature"), p.head_dim - count_)) {}

  void query(Index b, Index head, Index i, std::span<double> row) const override {
    normal_row(seed_, Draw::queries, b, head, i, deviation_, row);
    const Index seen = problem_.visible_end(b, i), others = seen - count_;
    if (others <= 0) return;  // all that it sees are needles
    Eigen::MatrixXd needles(problem_.head_dim, count_);
    for (Index n = 0; n < count_; ++n) {
      key(b, problem_.kv_head(head), needle(b, head, i, n, seen),
          {needles.col(n).data(), row.size()});
    }
    const Eigen::LDLT<Eigen::MatrixXd> products(needles.transpose() * needles);
    Eigen::Map<Eigen::VectorXd> q(row.data(), problem_.head_dim);
    const Eigen::VectorXd along = products.solve(needles.transpose() * q);
    q -= needles * along;
    const Eigen::VectorXd w = needles * products.solve(Eigen::VectorXd::Ones(count_));
    const double scale = problem_.effective_scale();
    const double level = log_odds_ +
                         std::log(static_cast<double>(others) / static_cast<double>(count_)) +
                         scale * scale * q.squaredNorm() / 2;
    q += needle_score(level, w.squaredNorm()) / scale * w;
  }
  void key(Index b, Index kv_head, Index j, std::span<double> row) const override {
    normal_row(seed_, Draw::keys, b, kv_head, j, 1, row);
  }
  std::vector<Index> planted(Index b, Index head, Index i) const override {
    const Index seen = problem_.visible_end(b, i);
    std::vector<Index> keys;
    for (Index n = 0; n < std::min(count_, seen); ++n) keys.push_back(needle(b, head, i, n, seen));
    return keys;
  }

 private:
  // The n-th needle of a query among the keys that it sees.
  Index needle(Index b, Index head, Index i, Index n, Index seen) const {
    const CounterRandom random(
        seed_, make_stream(static_cast<std::uint64_t>(Draw::needles), static_cast<std::uint64_t>(b),
                           static_cast<std::uint64_t>(head), static_cast<std::uint64_t>(i)));
    return permuted(random, seen, n);
  }

  const Index count_;
  const double log_odds_, deviation_;
};

std::string unsupported(const Problem& p, const Options& o) {
  if (const std::string reason = no_shares(p); !reason.empty()) return reason;
  const Index count = o.integer("count");
  if (count > p.head_dim - 2) {
    return fmt::format("a query can tell {} needles apart in head_dim {}, asked for {}",
                       std::max<Index>(p.head_dim - 2, 0), p.head_dim, count);
  }
  if (count >= p.key_len) {
    return fmt::format("{} needles in {} keys leave no other key", count, p.key_len);
  }
  // |w|^2 is (1, .., 1) times the inverse of a Wishart matrix of d degrees of freedom: its mean.
  const double w2 = static_cast<double>(count) / static_cast<double>(p.head_dim - count - 1);
  const auto others = static_cast<double>(p.key_len - count);
  const double temperature = o.number("temperature"), variance = temperature * temperature;
  const double level =
      log_odds(o.number("mass")) + std::log(others / static_cast<double>(count)) + variance / 2;
  if (2 * w2 * level > 1) {
    return fmt::format(
        "no query of head_dim {} gives {} needle{} the mass {} among {} keys: what raises a needle "
        "raises as much by chance",
        p.head_dim, count, count == 1 ? "" : "s", o.number("mass"), p.key_len);
  }
  const double sigma = needle_score(level, w2);
  return left_to_chance(variance + sigma * sigma * w2, others);
}

}  // namespace

const Generator kNeedle = {
    .name = "needle",
    .summary = "each query finds a few keys, anywhere among those it sees",
    .why = "what windows and low rank lose and a choice by content finds",
    .options = {{.name = "count",
                 .type = OptionType::integer,
                 .default_value = Index{1},
                 .doc = "needles of each query",
                 .minimum = 1,
                 .maximum = 1e3},
                mass_option("share of each row's attention that its needles draw together"),
                temperature_option(),
                seed_option()},
    .planted = "needles",
    .queries_count_keys = true,
    .unsupported = unsupported,
    .target =
        [](const Options& o, const Problem&) {
          return InputTarget{InputMeasure::planted_mass, o.number("mass")};
        },
    .make = [](const Problem& p, const Options& o) -> std::unique_ptr<const InputSource> {
      return std::make_unique<Needle>(p, o);
    },
};

}  // namespace longattn

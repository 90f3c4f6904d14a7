#include <fmt/format.h>

#include <Eigen/Dense>
#include <cmath>
#include <limits>
#include <vector>

#include "core/random.h"
#include "experiments/inputs/families.h"
#include "experiments/inputs/normal_rows.h"

namespace longattn {
namespace {

// A key's entries per unit of its centre's, so that they have deviation 1.
double key_factor(double spread) { return 1 / std::sqrt(1 + spread * spread); }

class Clustered final : public NormalValues {
 public:
  Clustered(const Problem& p, const Options& o)
      : NormalValues(p, o),
        clusters_(o.integer("clusters")),
        spread_(o.number("spread")),
        factor_(key_factor(spread_)),
        log_odds_(log_odds(o.number("mass"))),
        deviation_(query_deviation(p, o.number("temperature"), p.head_dim - 1)) {
    for (Index b = 0; b < p.batch; ++b) {
      for (Index h = 0; h < p.num_kv_heads; ++h) {
        Eigen::MatrixXd& centres = centres_.emplace_back(p.head_dim, clusters_);
        for (Index c = 0; c < clusters_; ++c) {
          normal_row(seed_, Draw::centres, b, h, c, 1,
                     {centres.col(c).data(), static_cast<size_t>(p.head_dim)});
        }
      }
    }
  }

  void query(Index b, Index head, Index i, std::span<double> row) const override {
    const Index kv_head = problem_.kv_head(head), own = cluster(b, kv_head, problem_.position(i));
    const Eigen::MatrixXd& centres = centres_of(b, kv_head);
    normal_row(seed_, Draw::queries, b, head, i, deviation_, row);
    Eigen::Map<Eigen::VectorXd> q(row.data(), problem_.head_dim);
    const Eigen::VectorXd direction = centres.col(own) / centres.col(own).squaredNorm();
    q -= centres.col(own).dot(q) * direction;
    const double to_score = problem_.effective_scale() * factor_;
    const double sigma =
        own_score(own, to_score * centres.transpose() * q, centres.transpose() * direction);
    q += sigma / to_score * direction;
  }
  void key(Index b, Index kv_head, Index j, std::span<double> row) const override {
    normal_row(seed_, Draw::keys, b, kv_head, j, factor_ * spread_, row);
    Eigen::Map<Eigen::VectorXd> k(row.data(), problem_.head_dim);
    k += factor_ * centres_of(b, kv_head).col(cluster(b, kv_head, j));
  }
  std::vector<Index> planted(Index b, Index head, Index i) const override {
    const Index kv_head = problem_.kv_head(head), own = cluster(b, kv_head, problem_.position(i));
    std::vector<Index> keys;
    for (Index j = 0; j < problem_.key_len; ++j) {
      if (cluster(b, kv_head, j) == own) keys.push_back(j);
    }
    return keys;
  }

 private:
  const Eigen::MatrixXd& centres_of(Index b, Index kv_head) const {
    return centres_[static_cast<size_t>(b * problem_.num_kv_heads + kv_head)];
  }
  // Of the token at this position, which may be negative for the first of many queries.
  Index cluster(Index b, Index kv_head, Index position) const {
    const CounterRandom random(
        seed_, make_stream(static_cast<std::uint64_t>(Draw::cluster), static_cast<std::uint64_t>(b),
                           static_cast<std::uint64_t>(kv_head)));
    return static_cast<Index>(
        random.below(static_cast<std::uint64_t>(position), static_cast<std::uint64_t>(clusters_)));
  }

  // The score sigma of the own centre that gives its cluster the odds against all others, whose
  // centres then score scores(c) + sigma along(c):
  //   f = sigma - log sum_{c != own} exp(scores(c) + sigma along(c)) - log odds = 0.
  // Newton's steps: f is concave, so they come from below, after the first, and never overshoot.
  // The spread of keys raises own and other clusters by the same factor, which cancels.
  double own_score(Index own, Eigen::VectorXd scores, const Eigen::VectorXd& along) const {
    scores(own) = -std::numeric_limits<double>::infinity();
    double sigma = 0;
    for (int step = 0; step < 50; ++step) {
      const Eigen::ArrayXd all = scores + sigma * along;
      const double largest = all.maxCoeff();
      const Eigen::ArrayXd weights = (all - largest).exp();
      const double sum = weights.sum();
      const double f = sigma - largest - std::log(sum) - log_odds_;
      const double slope = 1 - (weights * along.array()).sum() / sum;
      if (std::abs(f) < 1e-9 || slope < 0.01) break;  // another centre all but coincides
      sigma -= f / slope;
    }
    return sigma;
  }

  const Index clusters_;
  const double spread_, factor_, log_odds_, deviation_;
  std::vector<Eigen::MatrixXd> centres_;  // per (batch entry, kv head): [head_dim, clusters]
};

std::string unsupported(const Problem& p, const Options& o) {
  if (const std::string reason = no_shares(p); !reason.empty()) return reason;
  if (p.head_dim < 2) return "head_dim 1, expected at least 2";
  const Index clusters = o.integer("clusters");
  if (clusters > p.key_len) {
    return fmt::format("{} clusters of {} keys, expected at most as many", clusters, p.key_len);
  }
  const double spread = o.number("spread"), factor = key_factor(spread);
  const double temperature = factor * o.number("temperature");
  const auto dim = static_cast<double>(p.head_dim);
  // The other centres as if they were many: (2) of families.h with |w|^2 = 1 / d.
  const double level = log_odds(o.number("mass")) + std::log(static_cast<double>(clusters - 1)) +
                       temperature * temperature / 2;
  if (2 * level > dim) {
    return fmt::format(
        "no query of head_dim {} gives one of {} clusters the mass {}: what raises its score "
        "raises others by chance",
        p.head_dim, clusters, o.number("mass"));
  }
  const double sigma = 2 * level / (1 + std::sqrt(1 - 2 * level / dim));
  const double variance = spread * spread * (temperature * temperature + sigma * sigma / dim);
  return left_to_chance(variance, static_cast<double>(p.key_len) / static_cast<double>(clusters));
}

}  // namespace

const Generator kClustered = {
    .name = "clustered",
    .summary = "keys and queries around shared centres",
    .why = "what hashing is made for, and block patterns cannot see",
    .options = {{.name = "clusters",
                 .type = OptionType::integer,
                 .default_value = Index{16},
                 .doc = "centres of each head; a token belongs to one of them by chance",
                 .minimum = 2,
                 .maximum = 1024},
                {.name = "spread",
                 .type = OptionType::number,
                 .default_value = 0.5,
                 .doc = "deviation of keys around their centre, over that of centres",
                 .minimum = 0,
                 .maximum = 10},
                mass_option("share of each row's attention on the keys of its cluster"),
                temperature_option(),
                seed_option()},
    .planted = "cluster",
    .queries_count_keys = false,
    .unsupported = unsupported,
    .target =
        [](const Options& o, const Problem&) {
          return InputTarget{InputMeasure::planted_mass, o.number("mass")};
        },
    .make = [](const Problem& p, const Options& o) -> std::unique_ptr<const InputSource> {
      return std::make_unique<Clustered>(p, o);
    },
};

}  // namespace longattn

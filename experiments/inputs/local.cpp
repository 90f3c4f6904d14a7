#include <fmt/format.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "core/random.h"
#include "experiments/inputs/families.h"
#include "experiments/inputs/normal_rows.h"

namespace longattn {
namespace {

constexpr double kPeak = 20;              // score at distance 0 over the mean of far keys
constexpr double kMedian = 0.6744897502;  // of |x|, x standard normal

// l, the deviation of a row's normal curve in tokens.
double curve_deviation(const Options& o) { return o.number("half_mass_distance") / kMedian; }

Index num_frequencies(const Problem& p) { return p.head_dim / 4; }

class Local final : public NormalValues {
 public:
  Local(const Problem& p, const Options& o)
      : NormalValues(p, o),
        frequencies_(num_frequencies(p)),
        deviation_(query_deviation(p, o.number("temperature"), p.head_dim - 2 * frequencies_)) {
    for (Index b = 0; b < p.batch; ++b) {
      for (Index h = 0; h < p.num_kv_heads; ++h) add_frequencies(b, h, curve_deviation(o));
    }
  }

  void query(Index b, Index head, Index i, std::span<double> row) const override {
    const double factor =
        kPeak / (static_cast<double>(frequencies_) * problem_.effective_scale() * kKeyAmplitude);
    fill(Draw::queries, b, head, i, deviation_, row);
    add_waves(b, problem_.kv_head(head), problem_.position(i), factor, row);
  }
  void key(Index b, Index kv_head, Index j, std::span<double> row) const override {
    fill(Draw::keys, b, kv_head, j, 1, row);
    add_waves(b, kv_head, j, kKeyAmplitude, row);
  }

 private:
  static constexpr double kKeyAmplitude = std::numbers::sqrt2;  // entries of mean square 1

  // Evenly spaced up to their largest, each moved within its share by the seed; then scaled to
  // mean square 1 / (kPeak l^2).
  void add_frequencies(Index b, Index kv_head, double curve) {
    const CounterRandom random(
        seed_, make_stream(static_cast<std::uint64_t>(Draw::frequencies),
                           static_cast<std::uint64_t>(b), static_cast<std::uint64_t>(kv_head)));
    std::vector<double> drawn;
    double sum2 = 0;
    for (Index m = 0; m < frequencies_; ++m) {
      drawn.push_back(static_cast<double>(m) + random.uniform(static_cast<std::uint64_t>(m)));
      sum2 += drawn.back() * drawn.back();
    }
    const double unit =
        std::sqrt(static_cast<double>(frequencies_) / sum2) / (std::sqrt(kPeak) * curve);
    for (double w : drawn) waves_.push_back(w * unit);
  }

  // The dimensions behind the waves.
  void fill(Draw draw, Index b, Index head, Index token, double deviation,
            std::span<double> row) const {
    normal_row(seed_, draw, b, head, token, deviation,
               row.subspan(static_cast<size_t>(2 * frequencies_)));
  }
  void add_waves(Index b, Index kv_head, Index position, double amplitude,
                 std::span<double> row) const {
    const Index first = (b * problem_.num_kv_heads + kv_head) * frequencies_;
    for (Index m = 0; m < frequencies_; ++m) {
      const double angle = waves_[static_cast<size_t>(first + m)] * static_cast<double>(position);
      row[static_cast<size_t>(2 * m)] = amplitude * std::cos(angle);
      row[static_cast<size_t>(2 * m + 1)] = amplitude * std::sin(angle);
    }
  }

  const Index frequencies_;
  const double deviation_;
  std::vector<double> waves_;  // [batch, num_kv_heads, frequencies_], radians per token
};

std::string unsupported(const Problem& p, const Options& o) {
  if (const std::string reason = no_shares(p); !reason.empty()) return reason;
  if (p.head_dim < 4) return fmt::format("head_dim {}, expected at least 4", p.head_dim);
  const double distance = o.number("half_mass_distance");
  const auto keys = static_cast<double>(p.key_len);
  if (distance >= keys) {
    return fmt::format("half_mass_distance {:g} in {} tokens, expected less", distance, p.key_len);
  }
  // Weight of the near keys and of all others, in units of exp(peak): sums over a normal curve, on
  // one side of the query if causal, and over incommensurate waves.
  const double sides = p.mask.causal ? 0.5 : 1;
  const double near = sides * curve_deviation(o) * std::sqrt(2 * std::numbers::pi);
  const auto waves = static_cast<double>(num_frequencies(p));
  const double far =
      keys * std::exp(waves * std::log(std::cyl_bessel_i(0.0, kPeak / waves)) - kPeak);
  if (far > 0.1 * near) {
    return fmt::format(
        "{} tokens are too many for half_mass_distance {:g} with head_dim {}: keys far away that "
        "score high by chance would draw {:.0f} % of a row, expected at most 9 %",
        p.key_len, distance, p.head_dim, 100 * far / (far + near));
  }
  const double temperature = o.number("temperature");
  return left_to_chance(temperature * temperature, std::max(near, 1.0));
}

}  // namespace

const Generator kLocal = {
    .name = "local",
    .summary = "scores fall with distance, as a normal curve above a random floor",
    .why = "what windows are made for",
    .options = {{.name = "half_mass_distance",
                 .type = OptionType::number,
                 .default_value = 64.0,
                 .doc = "tokens within which half of a row's attention lies",
                 .minimum = 1,
                 .maximum = 1e9},
                temperature_option(),
                seed_option()},
    .planted = "",
    .queries_count_keys = false,
    .unsupported = unsupported,
    .target =
        [](const Options& o, const Problem&) {
          return InputTarget{InputMeasure::half_mass_distance, o.number("half_mass_distance")};
        },
    .make = [](const Problem& p, const Options& o) -> std::unique_ptr<const InputSource> {
      return std::make_unique<Local>(p, o);
    },
};

}  // namespace longattn

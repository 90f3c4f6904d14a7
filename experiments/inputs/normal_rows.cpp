#include "experiments/inputs/normal_rows.h"

#include <fmt/format.h>

#include <cmath>

#include "core/random.h"

namespace longattn {

void normal_row(std::uint64_t seed, Draw draw, Index batch_entry, Index head, Index token,
                double deviation, std::span<double> row) {
  const CounterRandom random(
      seed, make_stream(static_cast<std::uint64_t>(draw), static_cast<std::uint64_t>(batch_entry),
                        static_cast<std::uint64_t>(head)));
  // Token in the high half, so that the counter of an element never depends on dim or len.
  const std::uint64_t first = static_cast<std::uint64_t>(token) << 23;
  for (size_t c = 0; c < row.size(); c += 2) {
    const auto two = random.normal_pair(first + c / 2);
    row[c] = deviation * two[0];
    if (c + 1 < row.size()) row[c + 1] = deviation * two[1];
  }
}

double query_deviation(const Problem& p, double temperature, Index dims) {
  const double unit = std::abs(p.effective_scale()) * std::sqrt(static_cast<double>(dims));
  return unit > 0 ? temperature / unit : temperature;
}

NormalValues::NormalValues(const Problem& problem, const Options& options)
    : problem_(problem), seed_(static_cast<std::uint64_t>(options.integer("seed"))) {}

void NormalValues::value(Index b, Index kv_head, Index j, std::span<double> row) const {
  normal_row(seed_, Draw::values, b, kv_head, j, 1, row);
}

Option seed_option() {
  return {.name = "seed",
          .type = OptionType::integer,
          .default_value = Index{1},
          .doc = "of all random numbers",
          .minimum = 0,
          .maximum = 0x1p62};
}

Option temperature_option() {
  return {.name = "temperature",
          .type = OptionType::number,
          .default_value = 1.0,
          .doc = "standard deviation of the scaled scores of unrelated tokens",
          .minimum = 0,
          .maximum = 1e3};
}

Option mass_option(std::string doc) {
  return {.name = "mass",
          .type = OptionType::number,
          .default_value = 0.5,
          .doc = std::move(doc),
          .minimum = 0.01,
          .maximum = 0.99};
}

std::string no_shares(const Problem& p) {
  if (p.effective_scale() == 0) return "with scale 0 all scores are 0 and no key draws attention";
  if (!p.mask.document_ids.empty()) return "shares of attention are not defined over documents";
  if (!p.mask.alibi_slopes.empty()) return "ALiBi slopes would change the shares of attention";
  return "";
}

std::string left_to_chance(double variance, double n) {
  if (std::exp(variance) <= n) return "";
  return fmt::format(
      "scores of deviation {:.3g} over {:.0f} keys leave each row to a few keys that score high by "
      "chance; expected at most {:.3g}",
      std::sqrt(variance), n, std::sqrt(std::log(std::max(n, 1.0))));
}

double log_odds(double mass) { return std::log(mass / (1 - mass)); }

}  // namespace longattn

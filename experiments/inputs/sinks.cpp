#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "experiments/inputs/families.h"
#include "experiments/inputs/normal_rows.h"

namespace longattn {
namespace {

// Dimension 0 is the sinks' own.
class Sinks final : public NormalValues {
 public:
  Sinks(const Problem& p, const Options& o)
      : NormalValues(p, o),
        count_(o.integer("count")),
        log_odds_(log_odds(o.number("mass"))),
        deviation_(query_deviation(p, o.number("temperature"), p.head_dim - 1)) {}

  void query(Index b, Index head, Index i, std::span<double> row) const override {
    normal_row(seed_, Draw::queries, b, head, i, deviation_, row);
    row[0] = 0;
    const Index others = problem_.visible_end(b, i) - count_;
    if (others <= 0) return;  // sees sinks alone, or nothing
    const double scale = problem_.effective_scale();
    double norm2 = 0;
    for (double x : row) norm2 += x * x;
    const double sigma = log_odds_ +
                         std::log(static_cast<double>(others) / static_cast<double>(count_)) +
                         scale * scale * norm2 / 2;
    row[0] = sigma / (scale * length());
  }
  void key(Index b, Index kv_head, Index j, std::span<double> row) const override {
    if (j < count_) {
      std::ranges::fill(row, 0.0);
      row[0] = length();
    } else {
      normal_row(seed_, Draw::keys, b, kv_head, j, 1, row);
      row[0] = 0;
    }
  }
  std::vector<Index> planted(Index, Index, Index) const override {
    std::vector<Index> keys(static_cast<size_t>(count_));
    std::iota(keys.begin(), keys.end(), Index{0});
    return keys;
  }

 private:
  // That of other keys.
  double length() const { return std::sqrt(static_cast<double>(problem_.head_dim)); }

  const Index count_;
  const double log_odds_, deviation_;
};

std::string unsupported(const Problem& p, const Options& o) {
  if (const std::string reason = no_shares(p); !reason.empty()) return reason;
  if (p.head_dim < 2) return "sinks take a dimension of their own: head_dim 1, expected at least 2";
  const Index count = o.integer("count");
  if (count >= p.key_len) {
    return fmt::format("{} sinks in {} keys leave no other key", count, p.key_len);
  }
  const double temperature = o.number("temperature");
  return left_to_chance(temperature * temperature, static_cast<double>(p.key_len - count));
}

}  // namespace

const Generator kSinks = {
    .name = "sinks",
    .summary = "the first tokens draw a given share of every query's attention",
    .why = "what a plain window loses and global tokens keep; trained models have sinks",
    .options = {{.name = "count",
                 .type = OptionType::integer,
                 .default_value = Index{4},
                 .doc = "sinks: the first tokens",
                 .minimum = 1,
                 .maximum = 1e6},
                mass_option("share of each row's attention that all sinks draw together"),
                temperature_option(),
                seed_option()},
    .planted = "sinks",
    .queries_count_keys = true,
    .unsupported = unsupported,
    .target =
        [](const Options& o, const Problem&) {
          return InputTarget{InputMeasure::planted_mass, o.number("mass")};
        },
    .make = [](const Problem& p, const Options& o) -> std::unique_ptr<const InputSource> {
      return std::make_unique<Sinks>(p, o);
    },
};

}  // namespace longattn

#include <fmt/format.h>

#include <algorithm>

#include "experiments/inputs/families.h"
#include "experiments/inputs/normal_rows.h"

namespace longattn {
namespace {

// Normal numbers in the first `rank` dimensions, zeros behind them.
class RandomScores final : public NormalValues {
 public:
  RandomScores(const Problem& p, const Options& o, Index rank)
      : NormalValues(p, o),
        rank_(static_cast<size_t>(rank)),
        deviation_(query_deviation(p, o.number("temperature"), rank)) {}

  void query(Index b, Index head, Index i, std::span<double> row) const override {
    fill(Draw::queries, b, head, i, deviation_, row);
  }
  void key(Index b, Index kv_head, Index j, std::span<double> row) const override {
    fill(Draw::keys, b, kv_head, j, 1, row);
  }

 private:
  void fill(Draw draw, Index b, Index head, Index token, double deviation,
            std::span<double> row) const {
    normal_row(seed_, draw, b, head, token, deviation, row.first(rank_));
    std::ranges::fill(row.subspan(rank_), 0.0);
  }

  const size_t rank_;
  const double deviation_;
};

}  // namespace

const Generator kGaussian = {
    .name = "gaussian",
    .summary = "independent normal queries and keys",
    .why =
        "attention is nearly uniform at temperature 1: it flatters low-rank methods and slanders "
        "sparse ones",
    .options = {temperature_option(), seed_option()},
    .planted = "",
    .queries_count_keys = false,
    .unsupported = [](const Problem&, const Options&) -> std::string { return ""; },
    .target =
        [](const Options& o, const Problem&) {
          return InputTarget{InputMeasure::score_deviation, o.number("temperature")};
        },
    .make = [](const Problem& p, const Options& o) -> std::unique_ptr<const InputSource> {
      return std::make_unique<RandomScores>(p, o, p.head_dim);
    },
};

const Generator kLowRank = {
    .name = "low_rank",
    .summary = "normal queries and keys in a few dimensions: scores of that rank",
    .why = "shows what a method gains when the scores have low rank",
    .options = {{.name = "rank",
                 .type = OptionType::integer,
                 .default_value = Index{4},
                 .doc = "dimensions of queries and keys that are not zero",
                 .minimum = 1,
                 .maximum = 1e6},
                temperature_option(),
                seed_option()},
    .planted = "",
    .queries_count_keys = false,
    .unsupported = [](const Problem& p, const Options& o) -> std::string {
      const Index rank = o.integer("rank");
      if (rank <= p.head_dim) return "";
      return fmt::format("rank {}, but scores of head_dim {} have at most that rank", rank,
                         p.head_dim);
    },
    .target =
        [](const Options& o, const Problem&) {
          return InputTarget{InputMeasure::effective_rank, static_cast<double>(o.integer("rank"))};
        },
    .make = [](const Problem& p, const Options& o) -> std::unique_ptr<const InputSource> {
      return std::make_unique<RandomScores>(p, o, o.integer("rank"));
    },
};

}  // namespace longattn

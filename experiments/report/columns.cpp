#include "experiments/report/columns.h"

#include <fmt/format.h>

#include <array>

#include "experiments/report/text.h"

namespace longattn {
namespace {

Shown shown(const std::optional<Estimate>& estimate, std::string (*text)(double)) {
  if (!estimate) return {};
  return {text(estimate->value), half_width(*estimate), estimate};
}

Shown shown(const std::optional<double>& value, std::string (*text)(double)) {
  if (!value) return {};
  return {text(*value), "", Estimate{*value, *value, *value}};
}

std::string percent(double part) { return fmt::format("{:.1f}%", 100 * part); }
std::string times(double factor) { return three_digits(factor) + "×"; }
std::string error(double value) {
  return value > 0 && value < 1e-3 ? fmt::format("{:.1e}", value) : three_digits(value);
}

Shown length(const Block&, const CellResult& result) {
  const Index length = result.cell.problem.key_len;
  const auto value = static_cast<double>(length);
  return {grouped(length), "", Estimate{value, value, value}};
}

// Its interval is a cautious one, of a quotient: left to the time's own.
Shown against_full(const Block& block, const CellResult& result) {
  Shown speed = shown(speed_against_full(block, result), times);
  speed.half.clear();
  return speed;
}

Shown mass(const Block&, const CellResult& result) {
  Shown part = shown(result.captured_mass, percent);
  part.half.clear();
  return part;
}

template <auto member, std::string (*text)(double)>
Shown of(const Block&, const CellResult& result) {
  return shown(result.*member, text);
}

constexpr std::array kColumns = {
    ShownColumn{"length", "tokens (key_len)", true, length},
    ShownColumn{"time", "one forward pass: median over rounds, half of its 95 % interval", true,
                of<&CellResult::time_s, duration>},
    ShownColumn{"vs full", "time of full over time; above 1 is faster", true, against_full},
    ShownColumn{"workspace", "scratch memory beside inputs and outputs, counted", true,
                of<&CellResult::workspace_bytes, bytes>},
    ShownColumn{"heap peak", "every allocation during the forward pass", false,
                of<&CellResult::heap_peak_bytes, bytes>},
    ShownColumn{"rel. error", "definition against full attention in double precision", true,
                of<&CellResult::relative_error, error>},
    ShownColumn{"floor", "the same error of full attention in float32", true,
                of<&CellResult::relative_error_floor, error>},
    ShownColumn{"worst row", "relative error of the worst sampled row", false,
                of<&CellResult::row_error_worst, error>},
    ShownColumn{"mass", "full attention's probability on the keys that are weighed", true, mass},
    ShownColumn{"impl. ratio", "forward against its own definition over the tolerance; 1 conforms",
                false, of<&CellResult::implementation_ratio, three_digits>}};

Shown regret(const Block&, const CellResult& result) {
  if (!result.relative_error || !result.oracle_error) return {};
  return shown(std::optional(result.relative_error->value - *result.oracle_error), three_digits);
}

constexpr std::array kErrorColumns = {
    kColumns[0],
    ShownColumn{"rel. error", "definition against full attention in double precision", true,
                of<&CellResult::relative_error, error>},
    ShownColumn{"mean of V", "the same error of the mean of the visible values", true,
                of<&CellResult::mean_value_error, error>},
    ShownColumn{"oracle", "the same error of the best choice of as many keys per row", true,
                of<&CellResult::oracle_error, error>},
    ShownColumn{"regret", "relative error less the oracle's", true, regret},
    ShownColumn{"mass", "full attention's probability on the keys that are weighed", true, mass},
    ShownColumn{"contrast", "relative error over the root mean square of the lost mass", true,
                of<&CellResult::value_contrast, three_digits>},
    ShownColumn{"TV", "total variation between its weights and full attention's, mean over rows",
                true, of<&CellResult::total_variation, three_digits>},
    ShownColumn{"KL", "divergence of its weights from full attention's, nats, mean over rows", true,
                of<&CellResult::kl_divergence, three_digits>},
    ShownColumn{"recall", "share of a row's 16 heaviest keys that get a weight", true,
                of<&CellResult::top_recall, percent>},
    ShownColumn{"uncovered", "sampled rows that see keys and weigh none", true,
                of<&CellResult::uncovered_rows, exact>},
    ShownColumn{"median row", "relative error of a row: median", true,
                of<&CellResult::row_error_median, error>},
    ShownColumn{"pinned", "relative error of a row: worst of the first and last queries", true,
                of<&CellResult::row_error_pinned, error>},
    ShownColumn{"seeds", "how many seeds were drawn", true, of<&CellResult::seeds, exact>},
    ShownColumn{"mean", "relative error: mean over seeds", true,
                of<&CellResult::seed_error_mean, error>},
    ShownColumn{"worst", "relative error: worst seed", true,
                of<&CellResult::seed_error_worst, error>},
    ShownColumn{"bias", "relative error of the mean output over seeds", true,
                of<&CellResult::seed_bias, error>},
    ShownColumn{"spread", "standard deviation of outputs over seeds, relative to full attention",
                true, of<&CellResult::seed_spread, error>}};

}  // namespace

std::span<const ShownColumn> shown_columns() { return kColumns; }
std::span<const ShownColumn> error_columns() { return kErrorColumns; }

}  // namespace longattn

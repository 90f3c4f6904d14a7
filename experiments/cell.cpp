#include "experiments/cell.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace longattn {
namespace {

constexpr std::array<std::pair<Status, std::string_view>, 8> kStatusNames = {{
    {Status::ok, "ok"},
    {Status::oom, "oom"},
    {Status::timeout, "timeout"},
    {Status::crash, "crash"},
    {Status::nan, "nan"},
    {Status::unsupported, "unsupported"},
    {Status::skipped, "skipped"},
    {Status::nonconforming, "nonconforming"},
}};

}  // namespace

std::string_view to_string(Status status) {
  for (const auto& [value, name] : kStatusNames) {
    if (value == status) return name;
  }
  return "?";
}

std::optional<Status> status_from_string(std::string_view name) {
  for (const auto& [value, text] : kStatusNames) {
    if (text == name) return value;
  }
  return std::nullopt;
}

const CellResult* RunResults::find(const std::string& id) const {
  const auto found =
      std::ranges::find_if(cells, [&](const CellResult& result) { return result.cell.id == id; });
  return found == cells.end() ? nullptr : &*found;
}

std::string status_text(const CellResult& result) {
  std::string text(to_string(result.status));
  if (result.few_rounds) {
    text += fmt::format(", few_rounds {}/{}", result.round_seconds.size(), result.rounds_asked);
  }
  if (result.nondeterministic) text += ", nondeterministic";
  return text;
}

std::string short_label(const Cell& cell, const std::vector<CellResult>& among) {
  std::string label = cell.remark.empty() ? cell.variant : cell.remark + " " + cell.variant;
  for (const auto& option : cell.options) {
    const bool varies = std::ranges::any_of(among, [&](const CellResult& other) {
      return other.cell.variant == cell.variant &&
             std::ranges::find(other.cell.options, option) == other.cell.options.end();
    });
    if (varies) label += " " + option.first + "=" + option.second;
  }
  return label;
}

}  // namespace longattn

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
  const auto here = [&]() -> const CellResult* {
    const auto found = places_.find(id);
    if (found == places_.end() || found->second >= cells.size()) return nullptr;
    const CellResult& result = cells[found->second];
    return result.cell.id == id ? &result : nullptr;
  };
  if (const CellResult* result = here()) return result;
  places_.clear();
  for (size_t n = 0; n < cells.size(); ++n) places_.try_emplace(cells[n].cell.id, n);
  return here();
}

std::string status_text(const CellResult& result) {
  std::string text(to_string(result.status));
  if (result.few_rounds) {
    text += fmt::format(", few_rounds {}/{}", result.round_seconds.size(), result.rounds_asked);
  }
  if (result.nondeterministic) text += ", nondeterministic";
  return text;
}

ShortLabels::ShortLabels(const std::vector<CellResult>& cells) {
  for (const CellResult& result : cells) add(result.cell);
}

void ShortLabels::add(const Cell& cell) {
  Variant& variant = variants_[cell.variant];
  ++variant.cells;
  for (const auto& option : cell.options) ++variant.with[option];
}

std::string ShortLabels::of(const Cell& cell) const {
  std::string label = cell.remark.empty() ? cell.variant : cell.remark + " " + cell.variant;
  const auto variant = variants_.find(cell.variant);
  if (variant == variants_.end()) return label;
  for (const auto& option : cell.options) {
    const auto with = variant->second.with.find(option);
    const Index count = with == variant->second.with.end() ? 0 : with->second;
    if (count < variant->second.cells) label += " " + option.first + "=" + option.second;
  }
  return label;
}

}  // namespace longattn

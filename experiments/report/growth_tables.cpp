#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "experiments/report/growth.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

std::string exponent_text(const MeasuredGrowth& growth, const Estimate& exponent, bool mark) {
  const Scaling& scaling = growth.scaling;
  if (!scaling.refusal.empty()) return "-";
  std::string text = fmt::format("{:.2f}", exponent.value);
  if (!scaling.counted) text += fmt::format(" [{:.2f}, {:.2f}]", exponent.low, exponent.high);
  return mark && !scaling.power_law ? text + "*" : text;
}

std::string declared_text(const MeasuredGrowth& growth) {
  return growth.declared ? exact(*growth.declared) : "-";
}

// "holds", or what does not.
std::string verdict_text(const SeriesGrowth& growth) {
  std::vector<std::string> parts;
  for (const auto& [name, measured] :
       {std::pair("time", &growth.time), std::pair("workspace", &growth.workspace)}) {
    if (measured->verdict == GrowthVerdict::holds) continue;
    if (!measured->scaling.refusal.empty() || !measured->declared) continue;
    parts.push_back(fmt::format("{} {}", name, to_string(measured->verdict)));
  }
  if (!parts.empty()) return fmt::format("{}", fmt::join(parts, ", "));
  return is_fitted(growth) ? "holds" : "not fitted";
}

bool any_faster(const SeriesGrowth& growth) {
  return growth.time.verdict == GrowthVerdict::faster ||
         growth.workspace.verdict == GrowthVerdict::faster;
}

constexpr std::array kHeads = {"growth n^p", "time",  "last doublings", "decl.",
                               "workspace",  "decl.", "verdict"};
constexpr size_t kColumns = kHeads.size();
using Fields = std::array<std::string, kColumns>;

Fields fields_of(const SeriesGrowth& growth) {
  const MeasuredGrowth &time = growth.time, &workspace = growth.workspace;
  return {growth.series->label,
          exponent_text(time, time.scaling.exponent, true),
          exponent_text(time, time.scaling.tail, false),
          declared_text(time),
          exponent_text(workspace, workspace.scaling.tail, false),
          declared_text(workspace),
          verdict_text(growth)};
}

constexpr std::string_view kStarred =
    "* not a power law: the fit is more than 5 % off at some length";

bool starred(const std::vector<SeriesGrowth>& all) {
  return std::ranges::any_of(all, [](const SeriesGrowth& growth) {
    return growth.time.scaling.refusal.empty() && !growth.time.scaling.power_law;
  });
}

}  // namespace

std::string growth_text(const Block& block) {
  const std::vector<SeriesGrowth> all = growths(block);
  if (std::ranges::none_of(all, is_fitted)) return "";
  std::vector<Fields> lines(1);
  std::ranges::copy(kHeads, lines.front().begin());
  for (const SeriesGrowth& growth : all) lines.push_back(fields_of(growth));
  constexpr size_t kWidth = 100, kGap = 2;
  std::array<size_t, kColumns> widths{};
  for (const Fields& line : lines) {
    for (size_t n = 0; n < kColumns; ++n) widths[n] = std::max(widths[n], display_width(line[n]));
  }
  size_t others = 0;
  for (size_t n = 1; n < kColumns; ++n) others += widths[n] + kGap;
  widths[0] = std::min(widths[0], kWidth - std::min(others, kWidth - 8));
  std::string text;
  for (const Fields& line : lines) {
    // A label too long for its column is printed once in full above its row.
    if (display_width(line[0]) > widths[0]) text += line[0] + "\n";
    for (size_t n = 0; n < kColumns; ++n) {
      const std::string field = shortened(line[n], widths[n]);
      text += field;
      if (n + 1 < kColumns) text += std::string(widths[n] - display_width(field) + kGap, ' ');
    }
    text += "\n";
  }
  return starred(all) ? text + std::string(kStarred) + "\n" : text;
}

std::string growth_html(const Block& block) {
  const std::vector<SeriesGrowth> all = growths(block);
  if (std::ranges::none_of(all, is_fitted)) return "";
  std::string text =
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Growth\"><table><thead>"
      "<tr>";
  for (const char* head : kHeads)
    text += fmt::format("<th class=\"text\" scope=\"col\">{}</th>", head);
  text += "</tr></thead><tbody>\n";
  for (const SeriesGrowth& growth : all) {
    text += any_faster(growth) ? "<tr class=\"bad\">" : "<tr>";
    for (const std::string& field : fields_of(growth)) {
      text += fmt::format("<td class=\"text\">{}</td>", html(field));
    }
    text += "</tr>\n";
  }
  text += "</tbody></table></div>\n";
  return starred(all) ? text + fmt::format("<p class=\"note\">{}</p>\n", kStarred) : text;
}

}  // namespace longattn

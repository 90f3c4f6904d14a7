#include "experiments/report/html_tables.h"

#include <fmt/format.h>

#include <array>

#include "experiments/report/text.h"

namespace longattn {
namespace {

// A table cell with its figure for people and for the script.
std::string figure_cell(const std::optional<double>& value, const std::string& text) {
  if (!value) return "<td class=\"none\" data-value=\"\">–</td>";
  return fmt::format("<td data-value=\"{0}\" title=\"{0}\">{1}</td>", exact(*value), text);
}

std::string bytes_cell(const std::optional<double>& value) {
  return figure_cell(value, value ? bytes(*value) : "");
}

std::string estimate_cell(const std::optional<Estimate>& estimate, std::string (*format)(double)) {
  if (!estimate) return figure_cell(std::nullopt, "");
  std::string text = format(estimate->value);
  if (const std::string half = half_width(*estimate); !half.empty()) {
    text += fmt::format(" <small>{}</small>", half);
  }
  return fmt::format("<td data-value=\"{}\" title=\"{} [{}, {}]\">{}</td>", exact(estimate->value),
                     exact(estimate->value), exact(estimate->low), exact(estimate->high), text);
}

std::string percent(double part) { return fmt::format("{:.1f}&#8239;%", 100 * part); }
std::string times(double factor) { return three_digits(factor) + "×"; }
std::string power(double error) {
  return error > 0 && error < 1e-3 ? fmt::format("{:.1e}", error) : three_digits(error);
}

std::string status_cell(const CellResult& result) {
  return fmt::format("<td class=\"text{}\" title=\"{}\">{}</td>",
                     result.status == Status::ok ? "" : " bad", html(result.reason),
                     to_string(result.status));
}

std::string summary_row(const Block& block, const Series& series, const CellResult& result) {
  const auto length = static_cast<double>(result.cell.problem.key_len);
  const auto speed = speed_against_full(block, result);
  std::string text = fmt::format(
      "<tr data-cell=\"{}\"{}><td class=\"text label\"><div>{}</div></td>", html(result.cell.id),
      series.cells.front() == &result ? " class=\"first\"" : "", html(series.label));
  text += figure_cell(length, grouped(result.cell.problem.key_len));
  text += estimate_cell(result.time_s, duration);
  text += figure_cell(speed ? std::optional(speed->value) : std::nullopt,
                      speed ? times(speed->value) : "");
  text += bytes_cell(result.workspace_bytes) + bytes_cell(result.heap_peak_bytes);
  text += estimate_cell(result.relative_error, power);
  text += figure_cell(result.relative_error_floor,
                      result.relative_error_floor ? power(*result.relative_error_floor) : "");
  text += figure_cell(result.row_error_worst,
                      result.row_error_worst ? power(*result.row_error_worst) : "");
  text +=
      figure_cell(result.captured_mass ? std::optional(result.captured_mass->value) : std::nullopt,
                  result.captured_mass ? percent(result.captured_mass->value) : "");
  text +=
      figure_cell(result.implementation_ratio,
                  result.implementation_ratio ? three_digits(*result.implementation_ratio) : "");
  return text + status_cell(result) + "</tr>\n";
}

}  // namespace

std::string summary_table(const Block& block) {
  static constexpr std::array kHeads = {"<th class=\"text\" scope=\"col\">variant</th>",
                                        "<th scope=\"col\">length</th>",
                                        "<th scope=\"col\">time</th>",
                                        "<th scope=\"col\">vs full</th>",
                                        "<th scope=\"col\">workspace</th>",
                                        "<th scope=\"col\">heap peak</th>",
                                        "<th scope=\"col\">relative error</th>",
                                        "<th scope=\"col\">floor</th>",
                                        "<th scope=\"col\">worst row</th>",
                                        "<th scope=\"col\">mass</th>",
                                        "<th scope=\"col\">impl. ratio</th>",
                                        "<th class=\"text\" scope=\"col\">status</th>"};
  std::string text =
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Results\">"
      "<table class=\"sortable\"><thead><tr>";
  for (const char* head : kHeads) text += head;
  text += "</tr></thead><tbody>\n";
  for (const Series& series : block.series) {
    for (const CellResult* result : series.cells) text += summary_row(block, series, *result);
  }
  return text + "</tbody></table></div>\n";
}

std::string failure_table(const RunResults& results) {
  std::string rows;
  for (const CellResult& result : results.cells) {
    if (result.status == Status::ok) continue;
    rows += fmt::format(
        "<tr><td class=\"text\">{}</td><td class=\"text label\"><div>{}</div></td><td>{}</td>"
        "<td class=\"text bad\">{}</td><td class=\"text wrap\">{}</td></tr>\n",
        html(result.cell.input.label), html(short_label(result.cell, results.cells)),
        grouped(result.cell.problem.key_len), to_string(result.status), html(result.reason));
  }
  if (rows.empty()) return "";
  return "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Failures\"><table>"
         "<thead><tr><th class=\"text\" scope=\"col\">input</th><th class=\"text\" scope=\"col\">"
         "variant</th><th scope=\"col\">length</th><th class=\"text\" scope=\"col\">status</th>"
         "<th class=\"text\" scope=\"col\">reason</th></tr></thead><tbody>\n" +
         rows + "</tbody></table></div>\n";
}

std::string provenance_table(const Provenance& provenance) {
  std::string rows;
  for (const auto& [name, value] : provenance) {
    rows += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", html(name), html(value));
  }
  return "<table class=\"facts\"><tbody>\n" + rows + "</tbody></table>\n";
}

}  // namespace longattn

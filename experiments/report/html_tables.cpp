#include "experiments/report/html_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "experiments/report/columns.h"
#include "experiments/report/csv.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

// A figure for people, with all its digits for the pointer and the script.
std::string figure_cell(const Shown& shown) {
  if (!shown.figure) return "<td class=\"none\">–</td>";
  const Estimate& figure = *shown.figure;
  std::string all = exact(figure.value);
  if (figure.low != figure.high)
    all += fmt::format(" [{}, {}]", exact(figure.low), exact(figure.high));
  return fmt::format("<td title=\"{}\">{}{}</td>", all, shown.text,
                     shown.half.empty() ? "" : " <small>" + shown.half + "</small>");
}

std::string status_cell(const CellResult& result) {
  return fmt::format("<td class=\"text{}\" title=\"{}\">{}</td>",
                     result.status == Status::ok ? "" : " bad", html(result.reason),
                     status_text(result));
}

// Which cell a row is about.
std::string cell_fields(const ShortLabels& labels, const CellResult& result) {
  return fmt::format(
      "<td class=\"text label\"><div>{}</div></td><td class=\"text label\"><div>{}</div></td>"
      "<td>{}</td>",
      html(result.cell.input.label), html(labels.of(result.cell)),
      grouped(result.cell.problem.key_len));
}

std::string cell_heads() {
  return "<th class=\"text\" scope=\"col\">input</th><th class=\"text\" scope=\"col\">variant</th>"
         "<th scope=\"col\">length</th>";
}

// A table that scrolls by itself where it is wider than the page, also by the keyboard.
std::string scrolled(const char* name, const std::string& heads, const std::string& rows,
                     const char* kind = "") {
  return fmt::format(
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table{}>"
      "<thead><tr>{}</tr></thead><tbody>\n{}</tbody></table></div>\n",
      name, kind, heads, rows);
}

std::string figure_heads(std::span<const ShownColumn> columns) {
  std::string heads = "<th class=\"text\" scope=\"col\">variant</th>";
  for (const ShownColumn& column : columns) {
    heads +=
        fmt::format("<th scope=\"col\" title=\"{}\">{}</th>", html(column.meaning), column.head);
  }
  return heads;
}

// A row without its end.
std::string figure_row(const Block& block, const Series& series, const CellResult& result,
                       std::span<const ShownColumn> columns) {
  std::string row = fmt::format(
      "<tr data-cell=\"{}\"{}><td class=\"text label\"><div>{}</div></td>", html(result.cell.id),
      series.cells.front() == &result ? " class=\"first\"" : "", html(series.label));
  for (const ShownColumn& column : columns) row += figure_cell(column.show(block, result));
  return row;
}

}  // namespace

std::string summary_table(const Block& block) {
  std::string rows;
  for (const Series& series : block.series) {
    for (const CellResult* result : series.cells) {
      rows +=
          figure_row(block, series, *result, shown_columns()) + status_cell(*result) + "</tr>\n";
    }
  }
  return scrolled("Results",
                  figure_heads(shown_columns()) + "<th class=\"text\" scope=\"col\">status</th>",
                  rows, " class=\"sortable\"");
}

std::string error_table(const Block& block) {
  const auto any = [&](const ShownColumn& column) {
    return std::ranges::any_of(block.series, [&](const Series& series) {
      return std::ranges::any_of(series.cells, [&](const CellResult* result) {
        return !result->declared_exact && column.show(block, *result).figure.has_value();
      });
    });
  };
  std::vector<ShownColumn> columns;
  std::ranges::copy_if(error_columns(), std::back_inserter(columns), any);
  std::string rows;
  for (const Series& series : block.series) {
    for (const CellResult* result : series.cells) {
      if (result->declared_exact || !result->relative_error) continue;
      rows += figure_row(block, series, *result, columns) + "</tr>\n";
    }
  }
  if (rows.empty()) return "";
  return scrolled("Errors", figure_heads(columns), rows, " class=\"sortable\"");
}

std::string failure_table(const RunResults& results, bool all) {
  constexpr size_t kRowsOfPart = 60;
  const ShortLabels labels(results.cells);
  std::string rows;
  std::set<std::tuple<std::string, std::string, Status>> seen;
  Index count = 0, shown = 0;
  for (const CellResult& result : results.cells) {
    if (result.status == Status::ok) continue;
    ++count;
    const Cell& cell = result.cell;
    const bool first = seen.insert({cell.input.label, cell.variant, result.status}).second;
    if (!all && (!first || seen.size() > kRowsOfPart)) continue;
    ++shown;
    const std::string log =
        result.log.empty()
            ? ""
            : fmt::format("<details><summary>what it said</summary><pre>{}</pre></details>",
                          html_lines(result.log));
    rows += fmt::format(
        "<tr>{}<td class=\"text bad\">{}</td><td class=\"text wrap\">{}{}</td></tr>\n",
        cell_fields(labels, result), to_string(result.status), html(result.reason), log);
  }
  if (rows.empty()) return "";
  const std::string part =
      shown == count ? ""
                     : fmt::format(
                           "<p class=\"note\">{} of {}, the first of each input, variant and "
                           "status; all, with their reasons, are in <a "
                           "href=\"results.csv\">results.csv</a>.</p>\n",
                           shown, grouped(count));
  return part + scrolled("Failures",
                         cell_heads() +
                             "<th class=\"text\" scope=\"col\">status</th>"
                             "<th class=\"text\" scope=\"col\">reason</th>",
                         rows);
}

std::string command_table(const RunResults& results) {
  const ShortLabels labels(results.cells);
  std::string rows;
  for (const CellResult& result : results.cells) {
    rows += fmt::format("<tr>{}<td class=\"text\"><code>{}</code></td></tr>\n",
                        cell_fields(labels, result), html(repeat_command(results, result.cell)));
  }
  return scrolled("Commands", cell_heads() + "<th class=\"text\" scope=\"col\">command</th>", rows);
}

std::string provenance_table(const Provenance& provenance) {
  std::string rows;
  for (const auto& [name, value] : provenance) {
    rows += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", html(name), html(value));
  }
  return "<table class=\"facts\"><tbody>\n" + rows + "</tbody></table>\n";
}

}  // namespace longattn

#include "experiments/report/text_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "experiments/report/text.h"

namespace longattn {
namespace {

std::string joined(const std::vector<std::string>& fields, std::string (*escape)(std::string_view),
                   const char* between) {
  std::vector<std::string> escaped;
  for (const std::string& field : fields) escaped.push_back(escape(field));
  return fmt::format("{}", fmt::join(escaped, between));
}

// Words stand to the left, figures to the right.
bool has_words(const TextTable& table, size_t column) {
  return table.words || column == 0 || column + 1 == table.heads.size();
}

std::string html_row(const TextTable& table, const std::vector<std::string>& fields,
                     const char* tag, const char* scope) {
  std::string row = "<tr>";
  for (size_t n = 0; n < fields.size(); ++n) {
    const bool words = has_words(table, n);
    row += fmt::format("<{0}{1}{2}>{3}</{0}>", tag, words ? " class=\"text\"" : "", scope,
                       html(fields[n]));
  }
  return row + "</tr>";
}

}  // namespace

std::string html_table(const TextTable& table) {
  if (table.rows.empty()) return "";
  std::string text = fmt::format(
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table><thead>{}"
      "</thead><tbody>\n",
      html(table.name), html_row(table, table.heads, "th", " scope=\"col\""));
  for (const auto& row : table.rows) text += html_row(table, row, "td", "") + "\n";
  return text + "</tbody></table></div>\n";
}

std::string markdown_table(const TextTable& table) {
  if (table.rows.empty()) return "";
  std::string text =
      fmt::format("{}:\n\n| {} |\n|", markdown(table.name), joined(table.heads, markdown, " | "));
  for (size_t n = 0; n < table.heads.size(); ++n) text += has_words(table, n) ? ":--|" : "--:|";
  text += "\n";
  for (const auto& row : table.rows) {
    text += fmt::format("| {} |\n", joined(row, markdown, " | "));
  }
  return text + "\n";
}

std::string latex_table(const TextTable& table) {
  std::string text, columns;
  for (size_t n = 0; n < table.heads.size(); ++n) columns += has_words(table, n) ? 'l' : 'r';
  for (size_t n = 0; n < table.rows.size(); n += kLatexRows) {
    text += fmt::format(
        "\\begin{{table*}}\n\\centering\\footnotesize\n\\caption{{{}{}.}}\n"
        "\\begin{{tabular}}{{{}}}\n\\toprule\n{} \\\\\n\\midrule\n",
        latex(table.name), n > 0 ? ", continued" : "", columns, joined(table.heads, latex, " & "));
    for (size_t k = n; k < std::min(n + kLatexRows, table.rows.size()); ++k) {
      text += fmt::format("{} \\\\\n", joined(table.rows[k], latex, " & "));
    }
    text += "\\bottomrule\n\\end{tabular}\n\\end{table*}\n\n";
  }
  return text;
}

}  // namespace longattn

#include "experiments/report/paper_tables.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>

#include "experiments/report/columns.h"
#include "experiments/report/findings.h"
#include "experiments/report/heads.h"
#include "experiments/report/judgements.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

constexpr size_t kLatexName = 26;  // columns of a name that has no row of its own

using Escape = std::string (*)(std::string_view);

// A figure in LaTeX: "1.2e-07" is a power of ten there.
std::string latex_figure(std::string_view text) {
  const size_t e = text.find_first_of('e');
  const bool power = e != std::string_view::npos && e > 0 && e + 2 < text.size() &&
                     (text[e + 1] == '-' || text[e + 1] == '+');
  int exponent = 0;
  if (!power ||
      std::from_chars(text.data() + e + 2, text.data() + text.size(), exponent).ec != std::errc{}) {
    return latex(text);
  }
  const size_t end = text.find_first_not_of("0123456789", e + 2);
  return fmt::format("${}\\cdot10^{{{}{}}}${}", text.substr(0, e), text[e + 1] == '-' ? "-" : "",
                     exponent, latex(text.substr(std::min(end, text.size()))));
}

// The fields of a row from label to status, escaped.
std::vector<std::string> fields(const Block& block, const Series& series, const CellResult& result,
                                Escape escape, Escape figure) {
  std::vector<std::string> row = {escape(series.label)};
  for (const ShownColumn& column : shown_columns()) {
    if (!column.narrow) continue;
    const Shown shown = column.show(block, result);
    row.push_back(figure(shown.text.empty()   ? "–"
                         : shown.half.empty() ? shown.text
                                              : shown.text + " " + shown.half));
  }
  row.push_back(escape(status_text(result)));
  return row;
}

std::vector<std::string> heads(Escape escape) {
  std::vector<std::string> row = {"variant"};
  for (const ShownColumn& column : shown_columns()) {
    if (column.narrow) row.push_back(escape(column.head));
  }
  row.emplace_back("status");
  return row;
}

std::string markdown_row(const std::vector<std::string>& row) {
  return fmt::format("| {} |\n", fmt::join(row, " | "));
}

std::string markdown_table(const Block& block) {
  const std::vector<std::string> head = heads(markdown);
  std::string text = markdown_row(head) + "|:--|";
  for (size_t n = 2; n < head.size(); ++n) text += "--:|";
  text += ":--|\n";
  for (const Series& series : block.series) {
    for (const CellResult* result : series.cells) {
      text += markdown_row(fields(block, series, *result, markdown, markdown));
    }
  }
  return text;
}

std::string markdown_failures(const RunResults& results) {
  const std::string sentence = failures_sentence(results);
  if (sentence.empty()) return "";
  std::string text = fmt::format("## Failures\n\n{}\n\n", markdown(sentence));
  const ShortLabels labels(results.cells);
  for (const CellResult& result : results.cells) {
    if (result.status == Status::ok) continue;
    text += fmt::format("- {}, {}, {} tokens: {}\n", markdown(result.cell.input.label),
                        markdown(labels.of(result.cell)), grouped(result.cell.problem.key_len),
                        markdown(failure_text(result)));
  }
  return text + "\n";
}

std::string latex_row(const std::vector<std::string>& row) {
  return fmt::format("{} \\\\\n", fmt::join(row, " & "));
}

class LatexTables {
 public:
  LatexTables(const RunResults& results, const Block& block) : results_(results), block_(block) {}

  std::string text() {
    for (const Series& series : block_.series) {
      if (rows_ > 0 && rows_ + series.cells.size() > kLatexRows) end_table();
      if (rows_ > 0) text_ += "\\addlinespace\n";
      bool named = false;
      for (const CellResult* result : series.cells) {
        if (rows_ == kLatexRows) {
          end_table();
          named = false;
        }
        if (rows_ == 0) begin_table();
        add_row(series, *result, named);
        named = true;
      }
    }
    if (rows_ > 0) end_table();
    return std::move(text_);
  }

 private:
  void begin_table() {
    const std::vector<std::string> head = heads(latex);
    text_ += fmt::format(
        "\\begin{{table*}}\n\\centering\\footnotesize\n\\caption{{{}: {} ({}){}. Medians with half "
        "of "
        "their 95\\,\\% interval.}}\n\\begin{{tabular}}{{l{}l}}\n\\toprule\n{}\\midrule\n",
        latex(results_.experiment), latex(block_.input), latex(block_.problem),
        continued_ ? ", continued" : "", std::string(head.size() - 2, 'r'), latex_row(head));
  }
  // A series is named in its first row, or above it where its name is long.
  void add_row(const Series& series, const CellResult& result, bool named) {
    std::vector<std::string> row = fields(block_, series, result, latex, latex_figure);
    const bool long_name = display_width(series.label) > kLatexName;
    if (!named && long_name) {
      text_ += fmt::format("\\multicolumn{{{}}}{{l}}{{{}}} \\\\\n", row.size(), row[0]);
    }
    if (named || long_name) row[0].clear();
    text_ += latex_row(row);
    ++rows_;
  }
  void end_table() {
    text_ += "\\bottomrule\n\\end{tabular}\n\\end{table*}\n\n";
    rows_ = 0;
    continued_ = true;
  }

  const RunResults& results_;
  const Block& block_;
  std::string text_;
  size_t rows_ = 0;  // of the open table
  bool continued_ = false;
};

}  // namespace

std::string markdown_report(const RunResults& results, const std::vector<Block>& blocks) {
  std::string text = fmt::format("# {}\n\n", markdown(results.experiment));
  for (const Block& block : blocks) {
    text += fmt::format("## {}\n\n{}\n\n", markdown(block.input), markdown(block.problem));
    for (const Finding& finding : findings(block)) {
      const std::string sentence = markdown(finding.text);
      text += finding.alarm ? fmt::format("- **{}**\n", sentence) : fmt::format("- {}\n", sentence);
    }
    text += "\n" + markdown_table(block) + "\n";
    text += markdown_table(pareto_overview(block)) + markdown_table(heads_overview(block));
  }
  text += markdown_failures(results);
  return text + fmt::format("Medians with half of their 95 % interval. Repeat it with:\n\n    {}\n",
                            one_line(results.command));
}

std::string latex_tables(const RunResults& results, const std::vector<Block>& blocks) {
  std::string text =
      "% \\input this file; it needs \\usepackage{booktabs}, and XeLaTeX or LuaLaTeX if a name "
      "has\n"
      "% letters that pdfLaTeX's fonts have not. Written by longattn.\n"
      "% Repeat it with: " +
      one_line(results.command) + "\n\n";
  for (const Block& block : blocks) {
    text += LatexTables(results, block).text();
    for (TextTable table : {pareto_overview(block), heads_overview(block)}) {
      table.name = fmt::format("{}: {} ({}). {}", results.experiment, block.input, block.problem,
                               table.name);
      text += latex_table(table);
    }
  }
  const ShortLabels labels(results.cells);
  for (const CellResult& result : results.cells) {
    if (result.status == Status::ok) continue;
    text += fmt::format("% No result: {}, {}, {} tokens: {}\n", one_line(result.cell.input.label),
                        one_line(labels.of(result.cell)), result.cell.problem.key_len,
                        failure_text(result));
  }
  return text;
}

}  // namespace longattn

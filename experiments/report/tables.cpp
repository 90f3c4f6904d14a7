#include "experiments/report/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "experiments/report/columns.h"
#include "experiments/report/findings.h"
#include "experiments/report/growth.h"
#include "experiments/report/inputs.h"
#include "experiments/report/layout.h"
#include "experiments/report/report.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

constexpr size_t kWidth = 100;  // columns of the whole table
constexpr size_t kGap = 2;      // between columns

// One printed row: label, figures, status. A failure has only the first two fields, and its reason
// across the others.
struct Line {
  std::vector<std::string> fields;
  std::string failure;
};

Line heads() {
  Line line{{"variant"}, ""};
  for (const ShownColumn& column : shown_columns()) {
    if (column.narrow) line.fields.emplace_back(column.head);
  }
  line.fields.emplace_back("status");
  return line;
}

Line make_line(const Block& block, const Series& series, const CellResult& result) {
  Line line{{series.label}, result.status == Status::ok ? "" : failure_text(result)};
  for (const ShownColumn& column : shown_columns()) {
    if (!column.narrow) continue;
    const Shown shown = column.show(block, result);
    line.fields.push_back(shown.text.empty()   ? "-"
                          : shown.half.empty() ? shown.text
                                               : shown.text + " " + shown.half);
  }
  line.fields.push_back(status_text(result));
  return line;
}

using Widths = std::vector<size_t>;

Widths column_widths(const std::vector<Line>& lines) {
  Widths widths(lines.front().fields.size(), 0);
  for (const Line& line : lines) {
    for (size_t n = 0; n < widths.size(); ++n) {
      if (!line.failure.empty() && n > 1) break;
      widths[n] = std::max(widths[n], display_width(line.fields[n]));
    }
  }
  size_t others = 0;
  for (size_t n = 1; n < widths.size(); ++n) others += widths[n] + kGap;
  widths[0] = std::min(widths[0], kWidth - std::min(others, kWidth - 8));
  return widths;
}

std::string spaces(size_t count) { return std::string(count, ' '); }

// Text from column `indent` on, broken at spaces (or anywhere, when a word is too long).
std::string wrapped(std::string_view text, size_t indent) {
  std::string result;
  size_t column = indent;
  while (!text.empty()) {
    const size_t space = text.find(' ');
    std::string_view word = text.substr(0, space);
    text = space == std::string_view::npos ? "" : text.substr(space + 1);
    while (!word.empty()) {
      const size_t gap = column > indent ? 1 : 0;
      if (gap == 1 && column + gap + display_width(word) > kWidth) {
        result += "\n" + spaces(indent);
        column = indent;
        continue;
      }
      std::string piece = shortened(word, kWidth - column - gap);
      const bool cut = piece.size() != word.size();
      if (cut) piece.resize(piece.size() - std::string_view("…").size());
      result += spaces(gap) + piece;
      column += gap + display_width(piece);
      word.remove_prefix(std::min(piece.size(), word.size()));
      if (cut && piece.empty()) break;
    }
  }
  return result + "\n";
}

std::string print_line(const Line& line, const Widths& widths) {
  std::string text;
  size_t indent = 0;
  for (size_t n = 0; n < widths.size(); ++n) {
    if (n == 2 && !line.failure.empty()) return text + wrapped(line.failure, indent);
    const std::string field = shortened(line.fields[n], widths[n]);
    const std::string padding = spaces(widths[n] - display_width(field));
    // Words to the left, figures to the right.
    text += n == 0 || n + 1 == widths.size() ? field + padding : padding + field;
    text += spaces(kGap);
    indent += widths[n] + kGap;
  }
  text.resize(text.find_last_not_of(' ') + 1);
  return text + "\n";
}

std::string print_block(const Block& block) {
  std::vector<Line> lines = {heads()};
  for (const Series& series : block.series) {
    for (const CellResult* result : series.cells) {
      lines.push_back(make_line(block, series, *result));
    }
  }
  const Widths widths = column_widths(lines);
  std::string text = wrapped(block.input + ": " + block.problem, 0);
  std::string before;
  for (Line& line : lines) {
    // A label too long for its column is printed once in full above its rows, which have none.
    std::string label = line.fields[0];
    if (display_width(label) > widths[0]) {
      if (label != before) text += wrapped(label, 0);
      line.fields[0].clear();
    }
    before = std::move(label);
    text += print_line(line, widths);
  }
  const std::string growth = growth_text(block);
  return growth.empty() ? text : text + "\n" + growth;
}

}  // namespace

std::string terminal_table(const RunResults& results) {
  std::string text = wrapped(one_line(results.experiment), 0) + "\n";
  for (const Block& block : arrange(results)) {
    text += print_block(block) + "\n";
    if (const std::string input = input_sentence(results, block); !input.empty()) {
      text += "- " + wrapped(input, 2);
    }
    for (const Finding& finding : findings(block)) {
      text += (finding.alarm ? "! " : "- ") + wrapped(finding.text, 2);
    }
    text += "\n";
  }
  if (const std::string failures = failures_sentence(results); !failures.empty()) {
    text += "- " + wrapped(failures, 2);
  }
  return text;
}

}  // namespace longattn

#include "experiments/report/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "experiments/report/findings.h"
#include "experiments/report/growth.h"
#include "experiments/report/layout.h"
#include "experiments/report/report.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

constexpr size_t kWidth = 100;  // columns of the whole table
constexpr size_t kGap = 2;      // between columns

constexpr std::array kHeads = {"variant",    "length", "time", "vs full", "workspace",
                               "rel. error", "floor",  "mass", "status"};
constexpr size_t kColumns = kHeads.size(), kStatus = kColumns - 1;

// One printed row. A failure has only the first two columns, and its reason across the others.
struct Line {
  std::array<std::string, kColumns> fields;
  std::string failure;
};

std::string with_interval(const std::string& value, const Estimate& estimate) {
  const std::string half = half_width(estimate);
  return half.empty() ? value : value + " " + half;
}

Line make_line(const Block& block, const Series& series, const CellResult& result) {
  Line line;
  line.fields.fill("-");
  line.fields[0] = series.label;
  line.fields[1] = grouped(result.cell.problem.key_len);
  line.fields[kStatus] = to_string(result.status);
  if (result.status != Status::ok) line.failure = failure_text(result);
  if (result.time_s) {
    line.fields[2] = with_interval(duration(result.time_s->value), *result.time_s);
  }
  if (const auto speed = speed_against_full(block, result)) {
    line.fields[3] = three_digits(speed->value) + "x";
  }
  if (result.workspace_bytes) line.fields[4] = bytes(*result.workspace_bytes);
  if (result.relative_error) {
    line.fields[5] =
        with_interval(three_digits(result.relative_error->value), *result.relative_error);
  }
  if (result.relative_error_floor) {
    line.fields[6] = fmt::format("{:.0e}", *result.relative_error_floor);
  }
  if (result.captured_mass) {
    line.fields[7] = fmt::format("{:.1f}%", 100 * result.captured_mass->value);
  }
  return line;
}

using Widths = std::array<size_t, kColumns>;

Widths column_widths(const std::vector<Line>& lines) {
  Widths widths;
  for (size_t n = 0; n < kColumns; ++n) {
    widths[n] = display_width(kHeads[n]);
    for (const Line& line : lines) {
      if (!line.failure.empty() && n > 1) continue;
      widths[n] = std::max(widths[n], display_width(line.fields[n]));
    }
  }
  size_t others = 0;
  for (size_t n = 1; n < kColumns; ++n) others += widths[n] + kGap;
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

// Variants to the left, figures to the right.
std::string aligned(const std::string& field, size_t n, size_t width) {
  const std::string text = shortened(field, width);
  const std::string padding = spaces(width - display_width(text));
  return n == 0 || n == kStatus ? text + padding : padding + text;
}

std::string print_line(const Line& line, const Widths& widths) {
  std::string text;
  size_t indent = 0;
  for (size_t n = 0; n < kColumns; ++n) {
    if (n == 2 && !line.failure.empty()) return text + wrapped(line.failure, indent);
    text += aligned(line.fields[n], n, widths[n]) + spaces(kGap);
    indent += widths[n] + kGap;
  }
  text.resize(text.find_last_not_of(' ') + 1);
  return text + "\n";
}

std::string print_block(const Block& block) {
  std::vector<Line> lines;
  for (const Series& series : block.series) {
    for (const CellResult* result : series.cells) {
      lines.push_back(make_line(block, series, *result));
    }
  }
  const Widths widths = column_widths(lines);
  Line head;
  std::ranges::copy(kHeads, head.fields.begin());
  std::string text = wrapped(block.input + ": " + block.problem, 0) + print_line(head, widths);
  std::string before;
  for (const Line& line : lines) {
    // A label too long for its column is printed once in full above its rows.
    if (line.fields[0] != before && display_width(line.fields[0]) > widths[0]) {
      text += wrapped(line.fields[0], 0);
    }
    before = line.fields[0];
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

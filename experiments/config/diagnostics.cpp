#include "experiments/config/diagnostics.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/io/text.h"

namespace longattn {
namespace {

constexpr size_t kMostShown = 50;
constexpr size_t kWidestLine = 100;

// What is shown of a source line: the characters around the caret, and where the caret falls.
struct Excerpt {
  std::string text;
  size_t caret = 0, width = 1;
};

Excerpt excerpt(std::string_view line, size_t column, size_t width) {
  std::vector<std::string> shown;  // one entry a character
  for (size_t at = 0; at < line.size();) {
    const size_t bytes = std::max<size_t>(1, decode_utf8(line.substr(at)).bytes);
    const std::string_view one = line.substr(at, bytes);
    shown.push_back(one == "\t" ? std::string(" ") : printable(one));
    at += bytes;
  }
  column = std::min(column, shown.size());
  size_t first = 0, last = shown.size();
  if (shown.size() > kWidestLine) {
    first = column > kWidestLine / 2 ? column - kWidestLine / 2 : 0;
    last = std::min(shown.size(), first + kWidestLine);
  }
  Excerpt result;
  if (first > 0) result.text = "...";
  for (size_t i = first; i < last; ++i) {
    if (i == column) result.caret = count_characters(result.text);
    result.text += shown[i];
    if (i < column + width) {
      result.width = std::max<size_t>(1, count_characters(result.text) - result.caret);
    }
  }
  if (column >= last) {
    result.caret = count_characters(result.text);
    result.width = 1;
  }
  if (last < shown.size()) result.text += "...";
  return result;
}

}  // namespace

size_t count_characters(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

int Diagnostics::add_source(SourceText source) {
  sources_.push_back(std::move(source));
  return static_cast<int>(sources_.size()) - 1;
}

const SourceText& Diagnostics::source(Position position) const {
  return sources_.at(static_cast<size_t>(position.source));
}

void Diagnostics::add(Diagnostic diagnostic) {
  const Position at = diagnostic.position;
  if (known_.emplace(at.source, at.line, at.column, diagnostic.message).second) {
    found_.push_back(std::move(diagnostic));
  }
}

std::string Diagnostics::place(Position position) const {
  const std::string name = printable(source(position).name);
  if (position.line == 0 || source(position).is_argument) return name;
  return fmt::format("{}:{}:{}", name, position.line, position.column);
}

std::string Diagnostics::render_one(const Diagnostic& d) const {
  const auto& [name, lines, is_argument] = source(d.position);
  std::string text = fmt::format("error: {}\n", d.message);
  const std::string number =
      d.position.line > 0 && !is_argument ? fmt::format("{}", d.position.line) : "";
  const std::string margin(number.size(), ' ');
  text += fmt::format("{} --> {}\n", margin, place(d.position));
  if (d.position.line > 0 && d.position.line <= static_cast<int>(lines.size())) {
    const auto column = static_cast<size_t>(std::max(1, d.position.column) - 1);
    const Excerpt shown = excerpt(lines[static_cast<size_t>(d.position.line - 1)], column, d.width);
    text += fmt::format("{}  |\n {} | {}\n", margin, number, shown.text);
    text += fmt::format("{}  | {}{}{}{}\n", margin, std::string(shown.caret, ' '),
                        std::string(shown.width, '^'), d.hint.empty() ? "" : " ", d.hint);
  } else if (!d.hint.empty()) {
    text += fmt::format("{}  = {}\n", margin, d.hint);
  }
  for (const std::string& note : d.notes) text += fmt::format("{}  = {}\n", margin, note);
  return text;
}

std::string Diagnostics::render() const {
  std::vector<Diagnostic> sorted = found_;
  std::ranges::stable_sort(sorted, {}, [](const Diagnostic& d) {
    return std::tuple(d.position.source, d.position.line, d.position.column);
  });
  std::string text;
  for (size_t i = 0; i < std::min(sorted.size(), kMostShown); ++i) {
    text += render_one(sorted[i]) + "\n";
  }
  if (sorted.size() > kMostShown) {
    text += fmt::format("... and {} more like these\n\n", sorted.size() - kMostShown);
  }
  std::vector<std::string> names;  // of the texts that hold mistakes
  for (const Diagnostic& d : sorted) {
    const std::string name = printable(source(d.position).name);
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  }
  return text + fmt::format("{} error{} in {}; nothing was run", sorted.size(),
                            sorted.size() == 1 ? "" : "s", fmt::join(names, ", "));
}

void Diagnostics::throw_if_any() const {
  if (empty()) return;
  if (!std::ranges::all_of(found_, &Diagnostic::in_data)) throw ConfigError(render());
  std::string text;
  for (const Diagnostic& d : found_) {
    text += fmt::format("{}{}: {}", text.empty() ? "" : "\n", place(d.position), d.message);
  }
  throw DataError(text);
}

}  // namespace longattn

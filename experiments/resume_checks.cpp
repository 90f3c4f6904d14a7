#include "experiments/resume_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <sstream>
#include <vector>

#include "core/io/text.h"

namespace longattn {
namespace {

constexpr std::array kFleeting = {std::string_view("date"),
                                  std::string_view("load when started"),
                                  std::string_view("memory free when started"),
                                  std::string_view("may disturb times"),
                                  std::string_view("ended"),
                                  std::string_view("time spent"),
                                  std::string_view("resumed")};
constexpr size_t kMostLines = 12;  // of each side

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

void print(const std::vector<std::string>& lines, size_t begin, size_t end, char sign,
           std::string& out) {
  const size_t shown = std::min(end - begin, kMostLines);
  for (size_t n = begin; n < begin + shown; ++n) {
    out += fmt::format("\n{:>5} {} {}", n + 1, sign, printable(lines[n]));
  }
  if (shown < end - begin) out += fmt::format("\n      {} ({} more)", sign, end - begin - shown);
}

}  // namespace

std::string differing_facts(const Provenance& before, const Provenance& now) {
  std::string text;
  for (const auto& [name, value] : before) {
    if (std::ranges::find(kFleeting, name) != kFleeting.end()) continue;
    const auto other = std::ranges::find(now, name, &Provenance::value_type::first);
    if (other == now.end() || other->second == value) continue;
    text += fmt::format("\n  {}: was {}, is {}", printable(name), printable(value),
                        printable(other->second));
  }
  return text;
}

std::string differing_lines(const std::string& before, const std::string& now) {
  const std::vector<std::string> a = lines_of(before), b = lines_of(now);
  const size_t shorter = std::min(a.size(), b.size());
  size_t same = 0, tail = 0;
  while (same < shorter && a[same] == b[same]) ++same;
  while (tail < shorter - same && a[a.size() - 1 - tail] == b[b.size() - 1 - tail]) ++tail;
  std::string text;
  print(a, same, a.size() - tail, '-', text);
  print(b, same, b.size() - tail, '+', text);
  return text;
}

}  // namespace longattn

#include "experiments/report/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "core/io/text.h"

namespace longattn {
namespace {

// Fixed notation with three significant digits for 1 <= value, as few as none behind the point.
std::string three_fixed(double value) {
  const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f}", value, decimals);
}

// Code point at the start of well-formed UTF-8, and its length.
std::pair<char32_t, size_t> code_point(std::string_view text) {
  const auto byte = static_cast<unsigned char>(text[0]);
  const size_t length = byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
  char32_t point = length == 1 ? byte : byte & (0x7Fu >> length);
  for (size_t n = 1; n < std::min(length, text.size()); ++n) {
    point = (point << 6) | (static_cast<unsigned char>(text[n]) & 0x3Fu);
  }
  return {point, std::min(length, text.size())};
}

// Columns on a terminal: the main ranges of Unicode's combining marks and East Asian Width.
size_t columns(char32_t point) {
  const auto in = [&](char32_t low, char32_t high) { return point >= low && point <= high; };
  if (in(0x300, 0x36F) || in(0x200B, 0x200F) || in(0xFE00, 0xFE0F)) return 0;
  const bool wide = in(0x1100, 0x115F) || in(0x2E80, 0xA4CF) || in(0xAC00, 0xD7A3) ||
                    in(0xF900, 0xFAFF) || in(0xFE30, 0xFE6F) || in(0xFF00, 0xFF60) ||
                    in(0x1F300, 0x1FAFF) || in(0x20000, 0x3FFFD);
  return wide ? 2 : 1;
}

template <size_t n>
using Escapes = std::array<std::pair<std::string_view, std::string_view>, n>;

template <size_t n>
std::string escaped(std::string_view text, const Escapes<n>& escapes) {
  std::string result;
  while (!text.empty()) {
    const auto found = std::ranges::find_if(
        escapes, [&](const auto& escape) { return text.starts_with(escape.first); });
    const size_t length = found == escapes.end() ? 1 : found->first.size();
    result += found == escapes.end() ? text.substr(0, 1) : found->second;
    text.remove_prefix(length);
  }
  return result;
}

bool turns_reading_direction(char32_t point) {
  return (point >= 0x202A && point <= 0x202E) || (point >= 0x2066 && point <= 0x2069);
}

}  // namespace

std::string exact(double value) {
  std::array<char, 32> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return {buffer.data(), end.ptr};
}

std::string three_digits(double value) {
  const double size = std::abs(value);
  if (value == 0) return "0";
  if (!std::isfinite(value)) return exact(value);
  if (size >= 1e5 || size < 1e-3) return fmt::format("{:.2e}", value);
  if (size >= 0.9995) return (value < 0 ? "-" : "") + three_fixed(size);
  return fmt::format("{:.{}f}", value, size < 0.009995 ? 5 : size < 0.09995 ? 4 : 3);
}

std::string duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return exact(seconds) + " s";
  if (seconds < 0.9995e-3) return three_digits(seconds * 1e6) + " µs";
  if (seconds < 0.9995) return three_fixed(seconds * 1e3) + " ms";
  return three_fixed(seconds) + " s";
}

std::string bytes(double count) {
  static constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (count >= 1023.5 && unit + 1 < kUnits.size()) {
    count /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", count) : three_fixed(count) + " " + kUnits[unit];
}

std::string grouped(Index value) {
  std::string digits = std::to_string(value);
  const size_t first = value < 0 ? 1 : 0;
  for (size_t n = digits.size(); n > first + 3;) digits.insert(n -= 3, ",");
  return digits;
}

std::string figures_text(const std::vector<PlanFigure>& figures) {
  std::string text;
  for (const auto& [name, values] : figures) {
    if (values.empty()) continue;
    constexpr std::string_view kBytes = "_bytes", kSeconds = "_s";
    const bool in_bytes = name.ends_with(kBytes), in_seconds = name.ends_with(kSeconds);
    const size_t unit = in_bytes ? kBytes.size() : in_seconds ? kSeconds.size() : 0;
    std::string words = one_line(name.substr(0, name.size() - unit));
    std::ranges::replace(words, '_', ' ');
    const auto [least, most] = std::ranges::minmax(values);
    const auto number = [&](double value) {
      return in_bytes ? bytes(value) : in_seconds ? duration(value) : three_digits(value);
    };
    text += (text.empty() ? "" : ", ") + words + " " + number(least);
    if (most > least) text += " to " + number(most);
  }
  return text;
}

std::string short_length(Index length) {
  constexpr Index kKilo = 1024, kMega = kKilo * kKilo;
  if (length % kMega == 0) return fmt::format("{}M", length / kMega);
  if (length % kKilo == 0) return fmt::format("{}k", length / kKilo);
  return grouped(length);
}

std::string half_width(const Estimate& estimate) {
  const double half =
      std::max(estimate.high - estimate.value, estimate.value - estimate.low) / estimate.value;
  if (!(half > 0) || !std::isfinite(half)) return "";
  const double percent = 100 * half;
  if (percent < 0.05) return "±0.0%";
  if (percent > 999) return "±>999%";
  return fmt::format("±{:.{}f}%", percent, percent < 9.95 ? 1 : 0);
}

std::vector<std::string> first_ones(std::vector<std::string> parts) {
  if (parts.size() <= kMostListed) return parts;
  const size_t more = parts.size() - kFirstOnes;
  parts.resize(kFirstOnes);
  parts.push_back(grouped(static_cast<Index>(more)) + " more");
  return parts;
}

std::string one_line(std::string_view text) {
  const std::string safe = printable(text);
  std::string result;
  for (std::string_view rest = safe; !rest.empty();) {
    const auto [point, length] = code_point(rest);
    for (const char byte : rest.substr(0, length)) {
      result += turns_reading_direction(point)
                    ? fmt::format("\\x{:02x}", static_cast<unsigned char>(byte))
                    : std::string(1, byte);
    }
    rest.remove_prefix(length);
  }
  return result;
}

size_t display_width(std::string_view text) {
  size_t width = 0;
  while (!text.empty()) {
    const auto [point, length] = code_point(text);
    width += columns(point);
    text.remove_prefix(length);
  }
  return width;
}

std::string shortened(std::string_view text, size_t width) {
  if (display_width(text) <= width) return std::string(text);
  std::string result;
  size_t used = 1;  // the ellipsis
  while (!text.empty()) {
    const auto [point, length] = code_point(text);
    used += columns(point);
    if (used > width) break;
    result += text.substr(0, length);
    text.remove_prefix(length);
  }
  return result + "…";
}

std::string html(std::string_view text) {
  static constexpr Escapes<5> kEscapes = {
      {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}}};
  return escaped(one_line(text), kEscapes);
}

std::string html_lines(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    result += html(line) + "\n";
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return result;
}

std::string markdown(std::string_view text) {
  std::string result;
  for (const char c : one_line(text)) {
    const bool opens_list = result.empty() && (c == '-' || c == '+');
    if (opens_list || std::string_view("\\`*_{}[]<>#!|~&$@").find(c) != std::string_view::npos) {
      result += '\\';
    }
    result += c;
  }
  return result;
}

std::string latex(std::string_view text) {
  static constexpr Escapes<24> kEscapes = {{{"\\", "\\textbackslash{}"},
                                            {"{", "\\{"},
                                            {"}", "\\}"},
                                            {"$", "\\$"},
                                            {"&", "\\&"},
                                            {"#", "\\#"},
                                            {"_", "\\_"},
                                            {"%", "\\%"},
                                            {"~", "\\textasciitilde{}"},
                                            {"^", "\\textasciicircum{}"},
                                            {"<", "\\textless{}"},
                                            {">", "\\textgreater{}"},
                                            {"|", "\\textbar{}"},
                                            {"\"", "{\\ttfamily\\char34}"},
                                            {"'", "\\textquotesingle{}"},
                                            {"`", "\\textasciigrave{}"},
                                            {"--", "-{}-{}"},
                                            {",,", ",{},{}"},
                                            {"µ", "\\textmu{}"},
                                            {"×", "$\\times$"},
                                            {"±", "$\\pm$"},
                                            {"–", "\\textendash{}"},
                                            {"…", "\\dots{}"},
                                            {"²", "$^2$"}}};
  return escaped(one_line(text), kEscapes);
}

}  // namespace longattn

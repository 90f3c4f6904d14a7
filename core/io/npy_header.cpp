#include "core/io/npy_header.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "core/error.h"
#include "core/io/text.h"

namespace longattn {
namespace {

struct Descr {
  std::string_view text;
  ElementType type;
};
constexpr std::array<Descr, 7> kDescrs = {{
    {"<f4", ElementType::float32},
    {"<f8", ElementType::float64},
    {"<f2", ElementType::float16},
    {"<i8", ElementType::int64},
    {"<i4", ElementType::int32},
    {"|u1", ElementType::uint8},
    {"|b1", ElementType::boolean},
}};

class HeaderParser {
 public:
  HeaderParser(std::string_view text, std::string_view path) : text_(text), path_(path) {}
  NpyHeader parse();

 private:
  [[noreturn]] void refuse(std::string_view what, std::string_view expected,
                           std::string_view found) const {
    throw DataError(fmt::format("{}: {}, expected {}, found {}", path_, what, expected, found));
  }
  [[noreturn]] void refuse_here(std::string_view expected) const {
    refuse(fmt::format("header, character {}", at_), expected, here());
  }
  std::string here() const {
    if (at_ >= text_.size()) return "its end";
    return fmt::format("'{}'", printable(text_.substr(at_, 20)));
  }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n')) {
      ++at_;
    }
  }
  // Takes `word` if it comes next.
  bool take(std::string_view word) {
    skip_space();
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  void expect(std::string_view word) {
    if (!take(word)) refuse_here(fmt::format("'{}'", word));
  }
  std::string_view quoted(std::string_view expected);
  ElementType descr();
  bool truth();
  std::vector<Index> shape();
  Index integer();

  std::string_view text_, path_;
  size_t at_ = 0;
};

NpyHeader HeaderParser::parse() {
  NpyHeader header;
  bool has_descr = false, has_order = false, has_shape = false;
  expect("{");
  while (!take("}")) {
    const std::string_view key = quoted("a key in quotes, or '}'");
    bool* const seen = key == "descr"           ? &has_descr
                       : key == "fortran_order" ? &has_order
                       : key == "shape"         ? &has_shape
                                                : nullptr;
    if (seen == nullptr) {
      refuse("header key", "descr, fortran_order or shape", fmt::format("'{}'", printable(key)));
    }
    if (*seen) refuse(fmt::format("header key '{}'", key), "it once", "it twice");
    *seen = true;
    expect(":");
    if (seen == &has_descr) header.type = descr();
    if (seen == &has_order) header.fortran_order = truth();
    if (seen == &has_shape) header.shape = shape();
    if (take(",")) continue;
    expect("}");
    break;
  }
  skip_space();
  if (at_ != text_.size()) refuse_here("nothing after the '}'");
  for (const auto& [seen, key] : {std::pair(has_descr, "descr"), std::pair(has_shape, "shape"),
                                  std::pair(has_order, "fortran_order")}) {
    if (!seen) refuse("header", fmt::format("the key '{}'", key), "none");
  }
  // Zeros count as one here: a product that overflows before it meets a zero is refused too.
  Index bytes = byte_size(header.type);
  for (Index length : header.shape) {
    header.count = length == 0 ? 0 : header.count;
    if (__builtin_mul_overflow(bytes, std::max<Index>(length, 1), &bytes)) {
      refuse("shape", "fewer than 2^63 bytes", fmt::format("({})", fmt::join(header.shape, ", ")));
    }
  }
  if (header.count != 0) header.count = bytes / byte_size(header.type);
  return header;
}

std::string_view HeaderParser::quoted(std::string_view expected) {
  skip_space();
  const char quote = at_ < text_.size() ? text_[at_] : '\0';
  if (quote != '\'' && quote != '"') refuse_here(expected);
  const size_t end = text_.find(quote, at_ + 1);
  if (end == std::string_view::npos) refuse_here("a closing quote");
  const std::string_view content = text_.substr(at_ + 1, end - at_ - 1);
  if (content.find_first_of("\\\n") != std::string_view::npos) {
    refuse_here("text without backslash or line end");
  }
  at_ = end + 1;
  return content;
}

ElementType HeaderParser::descr() {
  static constexpr std::string_view kAccepted = "<f2 <f4 <f8 <i4 <i8 |u1 |b1";
  skip_space();
  if (at_ < text_.size() && text_[at_] == '[') {
    refuse("element type", kAccepted, "a structured type (save each field as its own array)");
  }
  const std::string_view text = quoted("an element type in quotes");
  const auto found = std::ranges::find(kDescrs, text, &Descr::text);
  if (found != kDescrs.end()) return found->type;
  const std::string shown = fmt::format("'{}'", printable(text.substr(0, 40)));
  const std::string_view kind =
      text.find_first_of("<>|=") == 0 ? text.substr(1) : text.substr(0, text.size());
  if (kind.starts_with('O')) {
    refuse("element type", kAccepted, shown + ": Python objects, which only pickle can read");
  }
  if (text.starts_with('>')) {
    refuse("element type", kAccepted, shown + ": big-endian (save array.astype('<f4'))");
  }
  if (kind.starts_with('V')) {
    refuse("element type", kAccepted,
           shown + ": untyped bytes (bfloat16? save it as float32, or as .safetensors)");
  }
  refuse("element type", kAccepted, shown);
}

bool HeaderParser::truth() {
  if (take("True")) return true;
  if (take("False")) return false;
  refuse_here("True or False");
}

std::vector<Index> HeaderParser::shape() {
  std::vector<Index> lengths;
  if (!take("(")) refuse_here("a shape such as (3, 4)");
  bool comma = true;
  while (!take(")")) {
    if (!comma) refuse_here("',' or ')'");
    if (lengths.size() == kMaxNpyAxes) {
      refuse("shape", fmt::format("at most {} axes", kMaxNpyAxes), "more");
    }
    lengths.push_back(integer());
    comma = take(",");
  }
  if (lengths.size() == 1 && !comma) {
    refuse("shape", "a tuple, (n,)", fmt::format("({})", lengths[0]));
  }
  return lengths;
}

Index HeaderParser::integer() {
  skip_space();
  size_t end = at_;
  while (end < text_.size() && text_[end] >= '0' && text_[end] <= '9') ++end;
  Index value = 0;
  const auto result = std::from_chars(text_.data() + at_, text_.data() + end, value);
  if (result.ec != std::errc() || (text_[at_] == '0' && end - at_ > 1)) {
    refuse_here("an axis length from 0 to 2^63 - 1");
  }
  at_ = end;
  if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // as Python 2 wrote long integers
  return value;
}

}  // namespace

NpyHeader parse_npy_header(std::string_view text, std::string_view path) {
  const auto ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
  const auto other = std::ranges::find_if_not(text, ascii);
  if (other != text.end()) {
    throw DataError(fmt::format("{}: header, expected ASCII, found byte 0x{:02x} at character {}",
                                path, static_cast<unsigned char>(*other), other - text.begin()));
  }
  if (!text.ends_with('\n')) {
    throw DataError(fmt::format("{}: header, expected a line end as its last character, found {}",
                                path, text.empty() ? "nothing" : "another"));
  }
  return HeaderParser(text, path).parse();
}

std::string npy_header_text(std::span<const Index> shape, ElementType type) {
  const auto descr = std::ranges::find(kDescrs, type, &Descr::type);
  std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}",
                                 descr->text, fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
  constexpr size_t kBefore = 10;  // magic, version, length
  const size_t unpadded = kBefore + text.size() + 1;
  text.append((64 - unpadded % 64) % 64, ' ');
  return text + '\n';
}

}  // namespace longattn

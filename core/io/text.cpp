#include "core/io/text.h"

#include <fmt/format.h>

#include <algorithm>

namespace longattn {
namespace {

// Length of the well-formed UTF-8 sequence at the start of `text`, or 0.
size_t sequence_length(std::string_view text) {
  const auto byte = [&](size_t n) { return static_cast<unsigned char>(text[n]); };
  const auto in = [&](size_t n, unsigned low, unsigned high) {
    return n < text.size() && byte(n) >= low && byte(n) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return in(1, 0x80, 0xBF) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const unsigned low = first == 0xE0 ? 0xA0 : 0x80, high = first == 0xED ? 0x9F : 0xBF;
    return in(1, low, high) && in(2, 0x80, 0xBF) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const unsigned low = first == 0xF0 ? 0x90 : 0x80, high = first == 0xF4 ? 0x8F : 0xBF;
    return in(1, low, high) && in(2, 0x80, 0xBF) && in(3, 0x80, 0xBF) ? 4 : 0;
  }
  return 0;
}

}  // namespace

Index find_invalid_utf8(std::string_view text) {
  for (size_t n = 0; n < text.size();) {
    const size_t length = sequence_length(text.substr(n));
    if (length == 0) return static_cast<Index>(n);
    n += length;
  }
  return -1;
}

std::string printable(std::string_view text) {
  std::string result;
  for (size_t n = 0; n < text.size();) {
    const size_t length = sequence_length(text.substr(n));
    const auto byte = static_cast<unsigned char>(text[n]);
    // C1 controls, U+0080 to U+009F, are C2 80 to C2 9F.
    const bool c1 = length == 2 && byte == 0xC2 && static_cast<unsigned char>(text[n + 1]) < 0xA0;
    if (length == 0 || byte < 0x20 || byte == 0x7F || c1) {
      for (size_t k = 0; k < std::max<size_t>(length, 1); ++k) {
        result += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[n + k]));
      }
    } else {
      result += text.substr(n, length);
    }
    n += std::max<size_t>(length, 1);
  }
  return result;
}

}  // namespace longattn

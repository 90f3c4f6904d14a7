#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/types.h"

namespace longattn {

/// One character of UTF-8 text.
struct Utf8Character {
  std::uint32_t code = 0;
  size_t bytes = 0;  ///< 0: not well-formed UTF-8 here
};

/// The first character of the text (Unicode 15, table 3-7: no overlong forms, no surrogates,
/// nothing above U+10FFFF).
Utf8Character decode_utf8(std::string_view text);

/// Position of the first byte that is not well-formed UTF-8, or -1.
Index find_invalid_utf8(std::string_view text);

/// The text with everything escaped that a terminal may act upon or that hides itself: control
/// characters, bytes that are not UTF-8, and the marks that turn the direction of writing.
std::string printable(std::string_view text);

}  // namespace longattn

#pragma once

#include <string>
#include <string_view>

#include "core/types.h"

namespace longattn {

/// Position of the first byte that is not well-formed UTF-8 (Unicode 15, table 3-7: no overlong
/// forms, no surrogates, nothing above U+10FFFF), or -1.
Index find_invalid_utf8(std::string_view text);

/// The text as it may appear in one line on a terminal: control characters and bytes that are not
/// UTF-8 become \xNN, so a name inside a file cannot move the cursor or break a message in two.
std::string printable(std::string_view text);

}  // namespace longattn

#pragma once

#include <string_view>

namespace longattn {

/// What every report page carries. The script sorts the tables; the page reads the same without it.
extern const std::string_view kPageStyle, kPageScript;
/// Content security policy: nothing is loaded, and no script runs but kPageScript (its SHA-256).
extern const std::string_view kPagePolicy;

}  // namespace longattn

#pragma once

#include <string_view>

namespace longattn {

/// How every figure of the page is measured and what it means: HTML, the same for every run.
extern const std::string_view kMethod;

}  // namespace longattn

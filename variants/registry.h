#pragma once

#include <span>

#include "core/variant.h"

namespace longattn {

/// The built-in variants, in the order in which they are listed. To add one: write
/// variants/<name>.h and .cpp, and add its row in registry.cpp.
std::span<const Variant* const> builtin_variants();

}  // namespace longattn

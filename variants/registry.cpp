#include "variants/registry.h"

#include <array>

namespace longattn {

std::span<const Variant* const> builtin_variants() {
  static const std::array<const Variant*, 0> kTable = {};
  return kTable;
}

}  // namespace longattn

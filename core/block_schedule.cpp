#include "core/block_schedule.h"

#include <algorithm>

namespace longattn {

TokenSet TokenSet::slice(Index first, Index size) const {
  if (list != nullptr) return {0, size, 1, list + first};
  return {begin + first * stride, size, stride, nullptr};
}

void TileMask::use_bits() {
  if (uses_bits) return;
  uses_bits = true;
  std::fill_n(bits.begin(), rows * words(columns), ~std::uint64_t{0});
}

void TileMask::use_bias() {
  if (uses_bias) return;
  uses_bias = true;
  std::fill_n(bias.begin(), rows * columns, 0.0f);
}

void TileMask::reset(Index new_rows, Index new_columns) {
  rows = new_rows;
  columns = new_columns;
  uses_bits = uses_bias = false;
  std::fill_n(begin.begin(), rows, Index{0});
  std::fill_n(end.begin(), rows, columns);
}

}  // namespace longattn

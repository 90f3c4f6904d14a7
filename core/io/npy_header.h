#pragma once

#include <string_view>

#include "core/io/npy.h"

namespace longattn {

constexpr Index kMaxNpyHeader = 10'000;
constexpr size_t kMaxNpyAxes = 64;  // as NumPy 2

/// Parses the header text, a Python literal such as
///   {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
/// with exactly these keys, in any order. Only the grammar that NumPy writes is taken: nothing is
/// evaluated. Throws DataError, beginning with `path`. data_begin is left 0.
NpyHeader parse_npy_header(std::string_view text, std::string_view path);

/// Inverse of parse_npy_header for C order, padded with spaces so that magic, version, length and
/// header together fill a multiple of 64 bytes.
std::string npy_header_text(std::span<const Index> shape, ElementType type);

}  // namespace longattn

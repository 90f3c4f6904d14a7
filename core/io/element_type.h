#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "core/tensor.h"
#include "core/types.h"

namespace longattn {

/// How the numbers of a file are stored, little-endian. Queries, keys and values come as one of the
/// first four; the others are for layouts and index lists.
enum class ElementType { float64, float32, float16, bfloat16, int64, int32, uint8, boolean };

std::string_view to_string(ElementType type);
Index byte_size(ElementType type);
bool is_floating(ElementType type);

/// Elements as doubles; exact except for int64 beyond 2^53. A boolean is 0 or 1.
/// `bytes` holds target.size() elements and need not be aligned.
void load_doubles(ElementType type, const std::byte* bytes, std::span<double> target);

/// The storage type that keeps elements of a floating type exactly; float32 for float64.
DType storage_for(ElementType type);
ElementType element_type_of(DType dtype);

/// A tensor of shape `tensor_shape` from elements of a floating type. float64 is rounded to the
/// nearest float32, and then `*rounded` is set to true (it is left alone otherwise). Throws
/// DataError, beginning with `what`, for another type and for a float64 beyond float32.
Tensor make_tensor(ElementType type, const std::byte* bytes,
                   const std::array<Index, 4>& tensor_shape, std::string_view what, bool* rounded);

/// [len, dim], [heads, len, dim] or [batch, heads, len, dim] with the missing axes set to 1.
/// Throws DataError, beginning with `what`, for any other number of axes.
std::array<Index, 4> tensor_shape(std::span<const Index> shape, std::string_view what);

}  // namespace longattn

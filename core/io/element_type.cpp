#include "core/io/element_type.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.h"

namespace longattn {

static_assert(std::endian::native == std::endian::little, "files are read without swapping bytes");

std::string_view to_string(ElementType type) {
  switch (type) {
    case ElementType::float64:
      return "float64";
    case ElementType::float32:
      return "float32";
    case ElementType::float16:
      return "float16";
    case ElementType::bfloat16:
      return "bfloat16";
    case ElementType::int64:
      return "int64";
    case ElementType::int32:
      return "int32";
    case ElementType::uint8:
      return "uint8";
    case ElementType::boolean:
      return "bool";
  }
  return "?";
}

Index byte_size(ElementType type) {
  switch (type) {
    case ElementType::float64:
    case ElementType::int64:
      return 8;
    case ElementType::float32:
    case ElementType::int32:
      return 4;
    case ElementType::float16:
    case ElementType::bfloat16:
      return 2;
    case ElementType::uint8:
    case ElementType::boolean:
      return 1;
  }
  return 0;
}

bool is_floating(ElementType type) {
  return type == ElementType::float64 || type == ElementType::float32 ||
         type == ElementType::float16 || type == ElementType::bfloat16;
}

namespace {

template <class Stored, class Convert>
void load(const std::byte* bytes, std::span<double> target, Convert convert) {
  for (size_t n = 0; n < target.size(); ++n) {
    Stored stored;
    std::memcpy(&stored, bytes + n * sizeof(Stored), sizeof(Stored));
    target[n] = convert(stored);
  }
}

}  // namespace

void load_doubles(ElementType type, const std::byte* bytes, std::span<double> target) {
  const auto plain = [](auto stored) { return static_cast<double>(stored); };
  switch (type) {
    case ElementType::float64:
      return load<double>(bytes, target, plain);
    case ElementType::float32:
      return load<float>(bytes, target, plain);
    case ElementType::float16:
      return load<std::uint16_t>(bytes, target, float16_to_float);
    case ElementType::bfloat16:
      return load<std::uint16_t>(bytes, target, bfloat16_to_float);
    case ElementType::int64:
      return load<std::int64_t>(bytes, target, plain);
    case ElementType::int32:
      return load<std::int32_t>(bytes, target, plain);
    case ElementType::uint8:
      return load<std::uint8_t>(bytes, target, plain);
    case ElementType::boolean:
      return load<std::uint8_t>(bytes, target, [](auto stored) { return stored != 0 ? 1.0 : 0.0; });
  }
}

DType storage_for(ElementType type) {
  if (type == ElementType::bfloat16) return DType::bfloat16;
  if (type == ElementType::float16) return DType::float16;
  return DType::float32;
}

ElementType element_type_of(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return ElementType::float32;
    case DType::bfloat16:
      return ElementType::bfloat16;
    case DType::float16:
      return ElementType::float16;
  }
  return ElementType::float32;
}

Tensor make_tensor(ElementType type, const std::byte* bytes,
                   const std::array<Index, 4>& tensor_shape, std::string_view what, bool* rounded) {
  if (!is_floating(type)) {
    throw DataError(
        fmt::format("{}: element type, expected float64, float32, float16 or bfloat16, found {}",
                    what, to_string(type)));
  }
  Tensor tensor(tensor_shape, storage_for(type));
  if (type != ElementType::float64) {
    if (tensor.size() > 0) {
      std::memcpy(tensor.bytes_begin(), bytes, static_cast<size_t>(tensor.bytes()));
    }
    return tensor;
  }
  // Halfway between the largest float and 2^128: from here on, rounding would give infinity.
  constexpr double kOverflow = 0x1.ffffffp127;
  for (Index n = 0; n < tensor.size(); ++n) {
    double value;
    std::memcpy(&value, bytes + n * 8, 8);
    if (std::isfinite(value) && std::fabs(value) >= kOverflow) {
      throw DataError(
          fmt::format("{}: element {}, expected a magnitude that float32 holds (at most "
                      "3.4e38), found {}",
                      what, n, value));
    }
    tensor.floats()[n] = static_cast<float>(value);
  }
  if (rounded != nullptr) *rounded = true;
  return tensor;
}

std::array<Index, 4> tensor_shape(std::span<const Index> shape, std::string_view what) {
  if (shape.size() < 2 || shape.size() > 4) {
    throw DataError(
        fmt::format("{}: shape, expected [len, dim], [heads, len, dim] or [batch, "
                    "heads, len, dim], found [{}]",
                    what, fmt::join(shape, ", ")));
  }
  std::array<Index, 4> result = {1, 1, 1, 1};
  for (size_t n = 0; n < shape.size(); ++n) result[n + 4 - shape.size()] = shape[n];
  return result;
}

}  // namespace longattn

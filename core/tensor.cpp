#include "core/tensor.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

namespace longattn {

std::array<Index, 3> dense_strides(const std::array<Index, 4>& shape) {
  return {shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3]};
}

Tensor::Tensor(const std::array<Index, 4>& shape, DType dtype) : shape_(shape), dtype_(dtype) {
  const auto rounded = static_cast<size_t>((bytes() + 63) / 64 * 64 + 64);
  data_.reset(static_cast<std::byte*>(std::aligned_alloc(64, rounded)));
  if (!data_) throw std::bad_alloc();
  std::memset(data_.get(), 0, rounded);
}

void Tensor::Free::operator()(std::byte* p) const { std::free(p); }

float* Tensor::floats() {
  assert(dtype_ == DType::float32);
  return reinterpret_cast<float*>(data_.get());
}

const float* Tensor::floats() const {
  assert(dtype_ == DType::float32);
  return reinterpret_cast<const float*>(data_.get());
}

ConstTensorView Tensor::view() const {
  return {data_.get(), dtype_, shape_, dense_strides(shape_)};
}

TensorView Tensor::mutable_view() { return {floats(), shape_, dense_strides(shape_)}; }

float bfloat16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

std::uint16_t float_to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>((bits >> 16) | 0x40);  // keep it quiet
  return static_cast<std::uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

float float16_to_float(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1F;
  const std::uint32_t fraction = bits & 0x3FF;
  if (exponent == 0) {  // zero or subnormal: fraction * 2^-24, exact in float
    const float magnitude = std::ldexp(static_cast<float>(fraction), -24);
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000 | (fraction << 13));
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
}

std::uint16_t float_to_float16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>(sign | 0x7E00);
  if (magnitude >= 65520.0f) return static_cast<std::uint16_t>(sign | 0x7C00);
  if (magnitude < 0x1p-14f) {  // subnormal half: an integer multiple of 2^-24
    const auto units = static_cast<std::uint16_t>(std::nearbyint(std::ldexp(magnitude, 24)));
    return static_cast<std::uint16_t>(sign | units);
  }
  const std::uint32_t absolute = bits & 0x7FFFFFFF;
  const std::uint32_t rounded = absolute + 0xFFF + ((absolute >> 13) & 1);
  return static_cast<std::uint16_t>(sign | ((rounded >> 13) - (112u << 10)));
}

void load_floats(DType dtype, const void* source, Index count, float* target) {
  if (dtype == DType::float32) {
    if (count > 0) std::memcpy(target, source, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  const auto* halves = static_cast<const std::uint16_t*>(source);
  if (dtype == DType::bfloat16) {
    for (Index n = 0; n < count; ++n) target[n] = bfloat16_to_float(halves[n]);
  } else {
    for (Index n = 0; n < count; ++n) target[n] = float16_to_float(halves[n]);
  }
}

void store_floats(DType dtype, const float* source, Index count, void* target) {
  if (dtype == DType::float32) {
    if (count > 0) std::memcpy(target, source, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  auto* halves = static_cast<std::uint16_t*>(target);
  if (dtype == DType::bfloat16) {
    for (Index n = 0; n < count; ++n) halves[n] = float_to_bfloat16(source[n]);
  } else {
    for (Index n = 0; n < count; ++n) halves[n] = float_to_float16(source[n]);
  }
}

void load_row(const ConstTensorView& view, Index b, Index head, Index i, double* target) {
  const auto* row = static_cast<const std::byte*>(view.row(b, head, i));
  constexpr Index kStep = 64;
  float buffer[kStep];
  for (Index first = 0; first < view.dim(); first += kStep) {
    const Index count = std::min(kStep, view.dim() - first);
    load_floats(view.dtype, row + first * byte_size(view.dtype), count, buffer);
    for (Index c = 0; c < count; ++c) target[first + c] = static_cast<double>(buffer[c]);
  }
}

}  // namespace longattn

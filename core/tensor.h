#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/types.h"

namespace longattn {

/// A read-only view of a [batch, heads, len, dim] tensor, innermost dimension contiguous; the other
/// strides are free (in elements), so a [batch, len, heads, dim] buffer is viewed without a copy.
struct ConstTensorView {
  const void* data = nullptr;
  DType dtype = DType::float32;
  std::array<Index, 4> shape{};    ///< batch, heads, len, dim
  std::array<Index, 3> strides{};  ///< elements from one batch entry, head, row to the next

  Index batch() const { return shape[0]; }
  Index heads() const { return shape[1]; }
  Index len() const { return shape[2]; }
  Index dim() const { return shape[3]; }
  bool empty() const { return data == nullptr; }
  const void* row(Index b, Index head, Index i) const {
    const Index offset = b * strides[0] + head * strides[1] + i * strides[2];
    return static_cast<const std::byte*>(data) + offset * byte_size(dtype);
  }
  /// The same row where the view is known to hold float32.
  const float* float_row(Index b, Index head, Index i) const {
    return static_cast<const float*>(row(b, head, i));
  }
};

/// A writable float32 view, laid out like ConstTensorView. Outputs are always float32.
struct TensorView {
  float* data = nullptr;
  std::array<Index, 4> shape{};
  std::array<Index, 3> strides{};

  Index batch() const { return shape[0]; }
  Index heads() const { return shape[1]; }
  Index len() const { return shape[2]; }
  Index dim() const { return shape[3]; }
  bool empty() const { return data == nullptr; }
  float* row(Index b, Index head, Index i) const {
    return data + b * strides[0] + head * strides[1] + i * strides[2];
  }
  operator ConstTensorView() const { return {data, DType::float32, shape, strides}; }
};

/// Row-major strides of a dense [batch, heads, len, dim] tensor.
std::array<Index, 3> dense_strides(const std::array<Index, 4>& shape);

/// An owned dense tensor, aligned to 64 bytes, zero-initialised.
class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(const std::array<Index, 4>& shape, DType dtype = DType::float32);

  const std::array<Index, 4>& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  Index size() const { return shape_[0] * shape_[1] * shape_[2] * shape_[3]; }
  Index bytes() const { return size() * byte_size(dtype_); }
  bool empty() const { return data_ == nullptr; }
  std::byte* bytes_begin() { return data_.get(); }
  const std::byte* bytes_begin() const { return data_.get(); }
  /// Elements of a float32 tensor; asserted.
  float* floats();
  const float* floats() const;

  ConstTensorView view() const;
  /// View of a float32 tensor; asserted.
  TensorView mutable_view();

 private:
  struct Free {
    void operator()(std::byte* p) const;
  };
  std::array<Index, 4> shape_{};
  DType dtype_ = DType::float32;
  std::unique_ptr<std::byte, Free> data_;
};

/// An extra input beside queries, keys and values; which names exist is declared by the Variant.
struct NamedTensor {
  std::string name;
  ConstTensorView view;
};

// Conversions between the storage types, element by element. To a narrower type they round to
// nearest, ties to even; NaN stays NaN; what overflows becomes infinite.
float bfloat16_to_float(std::uint16_t bits);
float float16_to_float(std::uint16_t bits);
std::uint16_t float_to_bfloat16(float value);
std::uint16_t float_to_float16(float value);

/// Reads `count` elements stored as `dtype` into floats. Exact.
void load_floats(DType dtype, const void* source, Index count, float* target);
/// Writes `count` floats as `dtype`, rounding to nearest even.
void store_floats(DType dtype, const float* source, Index count, void* target);
/// A copy of one row as doubles. Exact.
void load_row(const ConstTensorView& view, Index b, Index head, Index i, double* target);

}  // namespace longattn

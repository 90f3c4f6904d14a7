#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/io/element_type.h"
#include "core/io/file.h"
#include "core/tensor.h"

namespace longattn {

/// An array of a .npy file, in C order (last axis fastest) whatever the order in the file.
struct NpyArray {
  std::vector<Index> shape;
  ElementType type = ElementType::float32;
  std::vector<std::byte> bytes;

  Index size() const { return static_cast<Index>(bytes.size()) / byte_size(type); }
};

/// What the header of a .npy file says.
struct NpyHeader {
  std::vector<Index> shape;
  ElementType type = ElementType::float32;
  bool fortran_order = false;  ///< first axis fastest
  Index count = 1;             ///< elements: the product of the shape
  Index data_begin = 0;        ///< byte of the file
};

/// Reads and checks the header: NumPy's format, versions 1.0, 2.0 and 3.0; element types <f2 <f4
/// <f8 <i4 <i8 |u1 |b1; header of at most 10,000 characters (NumPy's own limit); count times
/// element size equal to the rest of the file. Each broken rule is a DataError: "path: what,
/// expected X, found Y".
NpyHeader read_npy_header(const InputFile& file);

/// Reads a whole file. Takes memory only once the header has been checked against the file's size,
/// never more than that at once. Throws as read_npy_header does, and IoError.
NpyArray read_npy(const std::string& path);

/// [len, dim], [heads, len, dim] or [batch, heads, len, dim] with the missing axes set to 1.
/// float64 is rounded to float32, and then `*rounded` is set to true. Throws DataError, beginning
/// with `what` (the path), for other numbers of axes and for integers.
Tensor to_tensor(const NpyArray& array, std::string_view what, bool* rounded = nullptr);

/// All elements as doubles, whatever their type (int64 beyond 2^53 is rounded).
std::vector<double> to_doubles(const NpyArray& array);

/// All elements of an integer or boolean array; throws DataError, beginning with `what`, for
/// floating types.
std::vector<Index> to_integers(const NpyArray& array, std::string_view what);

/// Writes a .npy file in pieces, atomically: version 1.0, C order, data aligned to 64 bytes (so
/// that numpy.load(mmap_mode="r") works). float32 and float64 only.
class NpyWriter {
 public:
  NpyWriter(const std::string& path, std::span<const Index> shape, ElementType type);
  /// Appends elements in C order.
  void write(std::span<const float> elements);
  void write(std::span<const double> elements);
  /// Ends the file; asserts that the shape is full.
  void commit();

 private:
  AtomicFile file_;
  ElementType type_;
  Index missing_ = 1;
};

void write_npy(const std::string& path, std::span<const Index> shape,
               std::span<const float> elements);
void write_npy(const std::string& path, std::span<const Index> shape,
               std::span<const double> elements);

}  // namespace longattn

#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/io/element_type.h"
#include "core/io/file.h"
#include "core/tensor.h"

namespace longattn {

/// What the header says of one tensor.
struct SafetensorsEntry {
  std::string dtype;                ///< as written: "F32", "BF16", "I64", ...
  std::optional<ElementType> type;  ///< empty: can be listed, not read
  std::vector<Index> shape;
  Index begin = 0, end = 0;  ///< bytes of the file; end - begin = size of the data
};

using SafetensorsMetadata = std::map<std::string, std::string>;

/// A .safetensors file. Opening reads and checks the header only; tensors are read when asked for.
///
/// Format: a little-endian u64 N, N bytes of JSON, then the data. All rules of the specification
/// are checked: the header begins with '{' and is UTF-8; no key occurs twice; every entry has
/// exactly dtype, shape and data_offsets; the product of the shape times the element size is the
/// distance of the offsets; the tensors cover the data without hole, overlap or rest; metadata maps
/// text to text. Limits of ours: header 16 MiB, 100,000 tensors, names 4 KiB, 64 axes.
/// Each broken rule is a DataError: "path: what, expected X, found Y". No memory is taken for what
/// the file does not hold.
class SafetensorsFile {
 public:
  static SafetensorsFile open(const std::string& path);

  const std::string& path() const { return file_.path(); }
  Index file_size() const { return file_.size(); }
  const std::map<std::string, SafetensorsEntry>& entries() const { return entries_; }
  const SafetensorsMetadata& metadata() const { return metadata_; }
  bool contains(const std::string& name) const { return entries_.contains(name); }

  /// The tensor with 2 to 4 axes as [batch, heads, len, dim]. float64 is rounded to float32, and
  /// then `*rounded` is set to true. Throws DataError for an unknown name and for a type that is
  /// not floating.
  Tensor load(const std::string& name, bool* rounded = nullptr) const;

  /// Bytes of an entry's data, from its byte `offset` on.
  void read(const SafetensorsEntry& entry, Index offset, std::span<std::byte> target) const;

 private:
  explicit SafetensorsFile(InputFile file) : file_(std::move(file)) {}

  InputFile file_;
  std::map<std::string, SafetensorsEntry> entries_;
  SafetensorsMetadata metadata_;
};

/// One tensor to write; `bytes` is in C order.
struct SafetensorsTensor {
  std::string name;
  ElementType type = ElementType::float32;
  std::vector<Index> shape;
  std::span<const std::byte> bytes;
};

/// Writes a file, atomically. Tensors are sorted by element size (largest first), then by name; the
/// header is padded with spaces to a multiple of 8, so all data is aligned. Throws DataError for a
/// name or text that could not be read back, IoError as AtomicFile does.
void write_safetensors(const std::string& path, std::vector<SafetensorsTensor> tensors,
                       const SafetensorsMetadata& metadata = {});

}  // namespace longattn

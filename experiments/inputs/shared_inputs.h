#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "core/attention.h"
#include "core/variant.h"
#include "experiments/inputs/generators.h"

namespace longattn {

/// Input tensors in sealed shared memory: made once by the run, mapped read-only by every worker,
/// so that a variant that writes to its inputs crashes instead of spoiling the next measurement.
class SharedInputs {
 public:
  /// Throws IoError when the system has no memory to share.
  explicit SharedInputs(const InputTensors& tensors);
  ~SharedInputs();
  SharedInputs(SharedInputs&& other) noexcept;
  SharedInputs& operator=(SharedInputs&&) = delete;

  int descriptor() const { return descriptor_; }
  /// Names, shapes, types and offsets, for the worker's request.
  const std::string& layout() const { return layout_; }
  /// 16 hexadecimal digits over shapes, types and bytes.
  const std::string& hash() const { return hash_; }

 private:
  int descriptor_ = -1;
  std::string layout_, hash_;
};

/// The worker's side.
class MappedInputs {
 public:
  /// Throws DataError when layout and descriptor do not fit each other.
  MappedInputs(int descriptor, const std::string& layout);
  ~MappedInputs();
  MappedInputs(const MappedInputs&) = delete;
  MappedInputs& operator=(const MappedInputs&) = delete;

  /// Inputs for a variant: with the extra tensors that it declares if all of them are there.
  Inputs inputs(const Variant& variant);
  /// Reads every page once.
  void touch() const;

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::vector<NamedTensor> tensors_, extra_;
};

}  // namespace longattn

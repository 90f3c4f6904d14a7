#pragma once

#include <cstddef>
#include <string>

#include "core/tensor.h"
#include "core/types.h"

namespace longattn {

/// An output tensor that notices writes beside it: it ends at a page that nothing may touch, so
/// that writing past its end is a crash; before it, up to the page before, stands a known pattern.
class GuardedOutput {
 public:
  /// Throws std::bad_alloc.
  explicit GuardedOutput(const Problem& problem);
  ~GuardedOutput();
  GuardedOutput(const GuardedOutput&) = delete;
  GuardedOutput& operator=(const GuardedOutput&) = delete;

  const TensorView& view() const { return view_; }
  /// False when something was written in front of the tensor.
  bool is_intact() const;

 private:
  std::byte* pages_ = nullptr;
  size_t size_ = 0, front_ = 0;  // bytes mapped; bytes of the pattern
  TensorView view_;
};

/// 16 hexadecimal digits over the bits of a dense output.
std::string hash_of(const TensorView& output);

}  // namespace longattn

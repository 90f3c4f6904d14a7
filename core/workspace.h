#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "core/types.h"

namespace longattn {

/// Scratch memory that counts its bytes. A stack of large chunks: taking is a pointer bump, a Scope
/// gives back all that was taken since it began, and chunks are kept, so the second identical call
/// allocates nothing. Not thread-safe: take on the calling thread, then hand out parts.
class Workspace {
 public:
  /// Gives back, at its end, everything taken during its life.
  class Scope {
   public:
    explicit Scope(Workspace& workspace);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Workspace& workspace_;
    size_t chunk_, used_;
    Index bytes_;
  };

  /// `count` uninitialised objects, aligned to 64 bytes. Throws std::bad_alloc.
  template <class T>
  std::span<T> take(Index count) {
    return {static_cast<T*>(take_bytes(count * static_cast<Index>(sizeof(T)))),
            static_cast<size_t>(count)};
  }
  /// What take<T>(count) adds to bytes(): rounded up to 64.
  template <class T>
  static Index bytes_for(Index count) {
    return rounded(count * static_cast<Index>(sizeof(T)));
  }
  static Index rounded(Index bytes) { return (bytes + 63) / 64 * 64; }

  Index bytes() const { return bytes_; }            ///< in use now
  Index peak_bytes() const { return peak_bytes_; }  ///< most in use since reset_peak
  void reset_peak() { peak_bytes_ = bytes_; }

 private:
  struct Free {
    void operator()(std::byte* p) const;
  };
  struct Chunk {
    std::unique_ptr<std::byte, Free> data;
    size_t size = 0, used = 0;
  };
  void* take_bytes(Index bytes);

  std::vector<Chunk> chunks_;
  size_t current_ = 0;
  Index bytes_ = 0, peak_bytes_ = 0;
};

}  // namespace longattn

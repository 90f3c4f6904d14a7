#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "core/types.h"

namespace longattn {

/// A regular file, open for reading at any offset. Bytes are read into memory (pread), never
/// mapped: a file that shrinks under a mapping kills the process.
class InputFile {
 public:
  /// Throws IoError when the file cannot be opened or is not a regular file (a folder, a device, a
  /// pipe: those may block or never end).
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&&) = delete;

  const std::string& path() const { return path_; }
  Index size() const { return size_; }  ///< bytes, when it was opened

  /// Fills `target` from byte `offset` on. Throws IoError when reading fails, and DataError when
  /// the file has become shorter.
  void read(Index offset, std::span<std::byte> target) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  Index size_ = 0;
};

/// Writes all of it to an open descriptor, through short and interrupted writes. False, with errno,
/// where that fails.
bool write_all(int descriptor, std::span<const std::byte> bytes);
bool write_all(int descriptor, std::string_view text);

/// The whole file as text. Throws like InputFile, and DataError when it is larger than `limit`
/// bytes.
std::string read_text(const std::string& path, Index limit);

/// A file that appears complete or not at all: written under a temporary name in the same folder,
/// then flushed to disk and renamed by commit(). Without commit() nothing stays. If `path` is a
/// link, the file that it points to is replaced. All errors are IoError and name the path
/// ("o.npy: cannot write: No space left on device"); CreateError when the file cannot be created.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  void commit();

 private:
  [[noreturn]] void fail(const char* what) const;
  std::string path_, target_, temporary_;
  int descriptor_ = -1;
};

/// Writes `text` as a whole file, atomically.
void write_text(const std::string& path, std::string_view text);

/// Throws CreateError unless a file can be created at `path`: to be asked before hours of work.
void check_can_create(const std::string& path);

}  // namespace longattn

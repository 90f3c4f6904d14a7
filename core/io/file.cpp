#include "core/io/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/io/text.h"

namespace longattn {
namespace {

std::string reason(int error) { return std::generic_category().message(error); }

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// What a rename must replace: the file itself, or what a link points to. Anything but a regular
// file is refused, because renaming over /dev/null would replace the device.
std::string resolve_target(const std::string& path) {
  const std::string shown = printable(path);
  if (path.empty()) throw CreateError("cannot create a file with an empty name");
  struct stat status;
  if (::lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return path;
    throw CreateError(fmt::format("{}: cannot create: {}", shown, reason(errno)));
  }
  std::string target = path;
  if (S_ISLNK(status.st_mode)) {
    const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), std::free);
    if (!real) {
      throw CreateError(fmt::format("{}: cannot follow the link: {}", shown, reason(errno)));
    }
    target = real.get();
    if (::stat(target.c_str(), &status) != 0) {
      throw CreateError(fmt::format("{}: cannot create: {}", shown, reason(errno)));
    }
  }
  if (!S_ISREG(status.st_mode)) {
    throw CreateError(fmt::format("{}: exists and is not a regular file", shown));
  }
  return target;
}

}  // namespace

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  const std::string shown = printable(path_);
  // O_NONBLOCK: opening a pipe without a writer must not hang; no effect on regular files.
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor_ < 0) throw IoError(fmt::format("{}: cannot open: {}", shown, reason(errno)));
  struct stat status;
  const int result = ::fstat(descriptor_, &status);
  const int error = errno;
  if (result != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    if (result != 0) throw IoError(fmt::format("{}: cannot stat: {}", shown, reason(error)));
    throw IoError(fmt::format("{}: not a regular file", shown));
  }
  size_ = static_cast<Index>(status.st_size);
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_) {}

void InputFile::read(Index offset, std::span<std::byte> target) const {
  while (!target.empty()) {
    // Linux reads at most 2^31 - 4096 bytes at once.
    const size_t piece = std::min<size_t>(target.size(), size_t{1} << 30);
    const ssize_t count = ::pread(descriptor_, target.data(), piece, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      throw IoError(fmt::format("{}: cannot read: {}", printable(path_), reason(errno)));
    }
    if (count == 0) {
      throw DataError(fmt::format("{}: end of file, expected {} more bytes at byte {}, found none",
                                  printable(path_), target.size(), offset));
    }
    offset += count;
    target = target.subspan(static_cast<size_t>(count));
  }
}

bool write_all(int descriptor, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const size_t piece = std::min<size_t>(bytes.size(), size_t{1} << 30);
    const ssize_t count = ::write(descriptor, bytes.data(), piece);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
  return true;
}

bool write_all(int descriptor, std::string_view text) {
  return write_all(descriptor, std::as_bytes(std::span(text)));
}

std::string read_text(const std::string& path, Index limit) {
  const InputFile file(path);
  if (file.size() > limit) {
    throw DataError(fmt::format("{}: size, expected at most {} bytes, found {}", printable(path),
                                limit, file.size()));
  }
  std::string text(static_cast<size_t>(file.size()), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

AtomicFile::AtomicFile(const std::string& path) : path_(path), target_(resolve_target(path)) {
  static std::atomic<unsigned> counter{0};
  for (int attempt = 0;; ++attempt) {
    temporary_ = fmt::format("{}/.longattn-{}-{}.tmp", folder_of(target_), ::getpid(), counter++);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ >= 0) return;
    if (errno != EEXIST || attempt == 1000) {
      throw CreateError(fmt::format("{}: cannot create: {}", printable(path_), reason(errno)));
    }
  }
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::fail(const char* what) const {
  throw IoError(fmt::format("{}: cannot {}: {}", printable(path_), what, reason(errno)));
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (!write_all(descriptor_, bytes)) fail("write");
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) fail("flush to disk");
  if (::close(std::exchange(descriptor_, -1)) != 0) fail("close");
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail("rename into place");
  temporary_.clear();
  // The new name must reach the disk too. Some file systems refuse to sync a folder; the file
  // itself is then complete all the same.
  const int folder = ::open(folder_of(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    const bool failed = ::fsync(folder) != 0 && errno == EIO;
    ::close(folder);
    if (failed) {
      errno = EIO;
      fail("flush the folder to disk");
    }
  }
}

void write_text(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

void check_can_create(const std::string& path) { const AtomicFile probe(path); }

}  // namespace longattn

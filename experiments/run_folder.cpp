#include "experiments/run_folder.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <utility>

#include "core/error.h"
#include "core/io/file.h"
#include "core/io/text.h"
#include "experiments/progress.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLock = "LOCK";

// What AtomicFile leaves behind when its process is killed.
bool is_unfinished(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with(".longattn-") && name.ends_with(".tmp");
}

std::time_t now() { return std::chrono::system_clock::to_time_t(std::chrono::system_clock::now()); }

}  // namespace

RunFolder::RunFolder(const std::string& path) : path_(path) {}

RunFolder::~RunFolder() {
  if (lock_ >= 0) close(lock_);
}

RunFolder::RunFolder(RunFolder&& other) noexcept
    : path_(std::move(other.path_)), lock_(std::exchange(other.lock_, -1)) {}

std::string RunFolder::file(std::string_view name) const { return (fs::path(path_) / name); }

RunFolder RunFolder::create(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (!fs::is_directory(path)) {
    throw CreateError(fmt::format("{}: cannot create the folder: {}", printable(path),
                                  error ? error.message() : "a file of that name exists"));
  }
  RunFolder folder(path);
  // Before leaving anything in a stranger's folder.
  if (!fs::exists(folder.file(kLock))) folder.require_empty();
  folder.lock();
  folder.require_empty();
  folder.remove_unfinished_files();
  return folder;
}

RunFolder RunFolder::create_named_after_time(const std::string& parent) {
  const auto refuse = [](const fs::path& path, const std::error_code& error) {
    throw CreateError(
        fmt::format("{}: cannot create the folder: {}", printable(path.string()), error.message()));
  };
  std::error_code error;
  fs::create_directories(parent, error);
  if (error) refuse(parent, error);
  const std::string time = fmt::format("{:%Y%m%dT%H%M%SZ}", fmt::gmtime(now()));
  for (int n = 1;; ++n) {
    const fs::path path = fs::path(parent) / (n == 1 ? time : fmt::format("{}-{}", time, n));
    if (fs::create_directory(path, error)) return create(path);  // of two runs only one makes it
    if (error) refuse(path, error);
  }
}

RunFolder RunFolder::reopen(const std::string& path) {
  RunFolder folder(path);
  if (!fs::exists(folder.journal())) {
    throw IoError(fmt::format(
        "{}: no journal.jsonl in it; expected the folder of a run that has begun to measure",
        printable(path)));
  }
  folder.lock();
  folder.remove_unfinished_files();
  return folder;
}

void RunFolder::lock() {
  const std::string name = file(kLock);
  lock_ = open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ < 0) {
    throw CreateError(fmt::format("{}: cannot create: {}", printable(name), std::strerror(errno)));
  }
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      const std::string owner = printable(read_text(name, 4096));
      throw InUseError(
          fmt::format("{}: in use by {}", printable(path_), owner.empty() ? "a run" : owner));
    }
    say(fmt::format(
        "longattn: warning: {}: cannot be locked ({}): see to it that no other run writes "
        "there\n",
        printable(path_), std::strerror(errno)));
  }
  sign();
}

// Who holds the lock, for the message of a second run; also on another machine.
void RunFolder::sign() const {
  char host[256] = "an unnamed host";
  gethostname(host, sizeof host - 1);
  const std::string owner = fmt::format("process {} on {} since {:%Y-%m-%d %H:%M:%S} UTC", getpid(),
                                        host, fmt::gmtime(now()));
  if (ftruncate(lock_, 0) != 0 || !write_all(lock_, owner)) {
    throw IoError(
        fmt::format("{}: cannot write: {}", printable(file(kLock)), std::strerror(errno)));
  }
}

void RunFolder::require_empty() const {
  const std::string shown = printable(path_);
  if (fs::exists(journal())) {
    throw CreateError(fmt::format(
        "{}: holds a run already; to go on with it: longattn run --resume {}", shown, shown));
  }
  for (const auto& entry : fs::directory_iterator(path_)) {
    if (entry.path().filename() == kLock || is_unfinished(entry.path())) continue;
    throw CreateError(fmt::format("{}: not empty (it holds {}); a run needs a new folder", shown,
                                  printable(entry.path().filename().string())));
  }
}

void RunFolder::remove_unfinished_files() const {
  for (const auto& entry : fs::directory_iterator(path_)) {
    if (is_unfinished(entry.path())) fs::remove(entry.path());
  }
}

}  // namespace longattn

#pragma once

#include <string>
#include <string_view>

namespace longattn {

/// The folder of a run. Held by one process at a time: the lock is the kernel's (flock on the file
/// LOCK), so it ends with its process, however that ends. On a file system without locks the run
/// goes on with a warning.
class RunFolder {
 public:
  /// Takes a new folder, or one that is there and empty. Throws CreateError when it cannot be made
  /// or holds something, InUseError naming who holds it.
  static RunFolder create(const std::string& path);
  /// Makes `parent`/<UTC time>; with -2, -3, ... behind it where that is taken.
  static RunFolder create_named_after_time(const std::string& parent);
  /// Takes the folder of an earlier run. Throws IoError when it holds no journal, InUseError.
  static RunFolder reopen(const std::string& path);

  ~RunFolder();
  RunFolder(RunFolder&& other) noexcept;
  RunFolder& operator=(RunFolder&&) = delete;

  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const;  ///< path of a file in it
  std::string journal() const { return file("journal.jsonl"); }

 private:
  explicit RunFolder(const std::string& path);
  void lock();
  void sign() const;
  void require_empty() const;
  void remove_unfinished_files() const;

  std::string path_;
  int lock_ = -1;
};

}  // namespace longattn

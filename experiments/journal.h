#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace longattn {

/// An append-only file of JSON lines: what has been measured stays measured. Each record is one
/// line, written by one write and flushed to disk, and ends in a checksum of its own text:
///
///   {"kind":"time","id":"9c41...","crc":"5d0fe1a9"}
///
/// The first record is a header with the schema version.
class Journal {
 public:
  using Visit = std::function<void(const nlohmann::json&)>;

  /// Creates the file with its header and the records of `head`: it appears with all of them or not
  /// at all. Throws CreateError (also when it exists), IoError.
  static Journal create(std::string path, const std::vector<nlohmann::json>& head);
  /// Opens the file to go on in it; a torn last line is cut off. Throws like read_journal.
  static Journal resume(std::string path);
  ~Journal();
  Journal(Journal&& other) noexcept;
  Journal& operator=(Journal&&) = delete;

  /// Appends one object. Throws IoError (with the free bytes of the disk); the file is then cut
  /// back to its last whole record.
  void append(const nlohmann::json& record);

  /// Whether resume() cut off a torn line: what was being written when the machine died.
  bool was_torn() const { return was_torn_; }

 private:
  explicit Journal(std::string path);

  std::string path_;
  int descriptor_ = -1;
  bool was_torn_ = false;
};

/// Calls visit(record) for every record after the header, in order. A torn last line (the machine
/// died while writing it) is left out; returns false then. Any other damage is a DataError with
/// path and line number; so is whatever std::exception `visit` throws.
bool read_journal(const std::string& path, const Journal::Visit& visit);

/// The line that `append` would write, and its inverse; for tests and tools.
std::string journal_line(const nlohmann::json& record);

}  // namespace longattn

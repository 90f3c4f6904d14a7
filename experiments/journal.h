#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

namespace longattn {

/// An append-only file of JSON lines: what has been measured stays measured. Each record is one
/// line, written by one write and flushed to disk, and ends in a checksum of its own text:
///
///   {"kind":"time","id":"9c41...","crc":"5d0fe1a9"}
///
/// The first record is a header with the schema version.
class Journal {
 public:
  /// Creates the file with its header. Throws CreateError, IoError.
  explicit Journal(std::string path);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  /// Appends one object. Throws IoError (with the free bytes of the disk); the file is then cut
  /// back to its last whole record.
  void append(const nlohmann::json& record);

 private:
  std::string path_;
  int descriptor_ = -1;
};

/// Calls visit(record) for every record after the header, in order. A torn last line (the machine
/// died while writing it) is left out; returns false then. Any other damage is a DataError with
/// path and line number.
bool read_journal(const std::string& path, const std::function<void(const nlohmann::json&)>& visit);

/// The line that `append` would write, and its inverse; for tests and tools.
std::string journal_line(const nlohmann::json& record);

}  // namespace longattn

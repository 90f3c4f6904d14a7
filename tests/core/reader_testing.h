#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace longattn {

/// Largest single allocation on this thread while it lives: through operator new, and with
/// sanitizers through malloc and its kin too.
class AllocationWatch {
 public:
  AllocationWatch();
  ~AllocationWatch();
  size_t largest() const;
};

/// The message of the DataError that `action` throws; a test failure and "" if it throws none.
inline std::string data_error(const std::function<void()>& action) {
  try {
    action();
  } catch (const DataError& error) {
    return error.what();
  }
  ADD_FAILURE() << "no DataError";
  return "";
}

/// Expects a message of one line, without control characters, that begins with `path`.
void expect_one_line(std::string_view message, std::string_view path);

/// Writes a new file. File systems that wait for the disk when a file is truncated do not wait
/// here.
void write_quickly(const std::string& path, std::string_view bytes);

/// Damage to files of one format: bytes flipped, set, cut or doubled, tokens put in, parts of one
/// seed put into another. The same from run to run.
struct Mutations {
  std::vector<std::string> seeds;        ///< whole files
  std::vector<std::string_view> tokens;  ///< that mean something to the format
  std::string path;                      ///< where each mutant is written
  int rounds = 0;  ///< how many; LONGATTN_MUTATION_SECONDS makes it as many as that time allows
  std::function<void(const Error&)> check;  ///< expects what a refusal must be
  bool bounded = true;  ///< no allocation may be larger than the file's order of size
};

struct MutationCounts {
  int read = 0, refused = 0;
};

/// Hands each mutant to `read`, which may return or throw Error, and nothing else. Stops at the
/// first mutant that fails the test, and shows it.
MutationCounts read_mutations(const Mutations& mutations,
                              const std::function<void(const std::string& path)>& read);

}  // namespace longattn

#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "core/error.h"

namespace longattn {

/// Largest single allocation through operator new on this thread while it lives. Under sanitizers,
/// which have their own allocator, it sees nothing and counting() is false.
class AllocationWatch {
 public:
  AllocationWatch();
  ~AllocationWatch();
  static bool counting();
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

/// Reads `rounds` seeded mutations of `seeds` (bytes flipped, set, cut, doubled, numbers changed,
/// parts of one seed put into another) through `read`; only success and DataError pass, and
/// no allocation may be larger than the file and a small constant. `rounds` is overridden by the
/// environment variable LONGATTN_MUTATIONS. Returns how many were read without error.
int read_mutations(const std::vector<std::string>& seeds, int rounds,
                   const std::function<void(const std::string& path)>& read);

}  // namespace longattn

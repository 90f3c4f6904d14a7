#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "experiments/cell.h"
#include "tests/temporary_folder.h"

namespace longattn {

inline constexpr const char* kProgram = LONGATTN_PROGRAM;
/// The tool with variants that fail (tests/experiments/programs/faulty_variants.cpp).
inline constexpr const char* kFaulty = LONGATTN_FAULTY_PROGRAM;
inline constexpr const char* kQuick = "measure: {rounds: 2, min_time: 1ms, error_rows: 16}";

/// The whole program, run as a user runs it, in a folder of its own: real worker processes, real
/// signals.
class RunTest : public testing::Test {
 public:
  static int finish(pid_t child);  ///< exit code, or minus the signal's number

 protected:
  using Arguments = std::vector<std::string>;
  /// Environment variables of one call, beside those of this process.
  using Environment = std::map<std::string, std::string>;

  /// One input of 40 tokens unless `lengths` says otherwise.
  std::filesystem::path write_config(const std::string& variants, const std::string& rest = "",
                                     const std::string& lengths = "[40]");

  pid_t start(const std::string& program, Arguments arguments, const Environment& environment = {});
  int call(const std::string& program, const Arguments& arguments,
           const Environment& environment = {});
  /// For SetUp of tests that call_with_fault: sanitizers want to be loaded first, and so does what
  /// injects faults.
  static void skip_with_sanitizers();
  /// With a fault of tests/experiments/programs/faults.cpp.
  int call_with_fault(const std::string& fault, const Arguments& arguments,
                      Environment environment = {});
  /// What `run` of this config into results_folder() needs.
  Arguments run_of(const std::filesystem::path& config, const Arguments& more = {}) const;
  Arguments resume(const Arguments& more = {}) const;

  /// The process that `parent` has started, or 0.
  static pid_t child_of(pid_t parent);
  /// Whether a process has this in its environment: "NAME=value".
  static bool anything_runs_with(const std::string& variable);
  /// Waits until it holds, at most half a minute.
  static bool eventually(const std::function<bool()>& condition);

  std::string out() const { return slurp(folder_ / "stdout"); }
  std::string err() const { return slurp(folder_ / "stderr"); }
  std::string results_folder() const { return (folder_ / "results").string(); }
  std::string journal() const { return slurp(folder_ / "results" / "journal.jsonl"); }
  static std::string slurp(const std::filesystem::path& path);

  /// By variant.
  std::map<std::string, CellResult> results() const;
  /// What does not depend on time, of every cell, one line each; and that no measurement stands
  /// twice in the journal.
  static std::string findings_of(const std::string& folder);

  const TemporaryFolder temporary_;
  const std::filesystem::path folder_ = temporary_.path();
};

}  // namespace longattn

#pragma once

#include <string>
#include <vector>

namespace longattn {

/// One thing of this machine that timings depend on.
struct MachineFact {
  enum class State { fine, disturbs, unknown };
  std::string subject;  ///< "governor"
  State state = State::fine;
  std::string found;   ///< "powersave on 2 of 2 processors"
  std::string advice;  ///< what to do about it, where it disturbs
};

/// How this program was built, processor frequency (governor, turbo), load, swap, huge pages, a
/// container's processor quota, hyperthreads, a virtual machine and what its host takes away, the
/// clock. `root` stands before /proc and /sys, for tests.
std::vector<MachineFact> examine_machine(const std::string& root = "");

/// Other processes that use more than a twentieth of a processor while `seconds` pass.
MachineFact find_busy_processes(double seconds);

}  // namespace longattn

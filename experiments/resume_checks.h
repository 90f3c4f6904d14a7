#pragma once

#include <optional>
#include <string>

#include "experiments/cell.h"

namespace longattn {

/// One line for each fact that differs, "  processor: was A, is B"; facts that change from hour to
/// hour (date, load) and those that only one side has are left out.
std::string differing_facts(const Provenance& before, const Provenance& now);

/// The lines in which two texts differ, "  12 - old" and "  12 + new", from the first to the last
/// such line, shortened in the middle; empty when they agree.
std::string differing_lines(const std::string& before, const std::string& now);

}  // namespace longattn

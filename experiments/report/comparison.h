#pragma once

#include <string>

#include "experiments/judge/compare.h"

namespace longattn {

/// One row per cell with both times, their ratio and the verdict; then what changed of errors,
/// memory and status, what could not be compared and why, and a sentence that sums up. Lines of
/// user text are kept in one line each.
std::string comparison_text(const Comparison& comparison, const CompareSettings& settings);

/// The same as JSON, one object per cell.
std::string comparison_json(const Comparison& comparison, const CompareSettings& settings);

}  // namespace longattn

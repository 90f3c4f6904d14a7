#pragma once

#include <span>
#include <vector>

#include "experiments/cell.h"

namespace longattn {

/// What one cell costs in each respect that counts: error, seconds, bytes. Less is better.
using Costs = std::vector<Estimate>;

/// front      no other one is better in some respect and as good in all others
/// tied       as the measured values stand some other one is, but within the intervals it may not
/// be dominated  another one is: apart from it in some respect, and in no respect apart the other
/// way,
///            with values that are nowhere worse
enum class Standing { front, tied, dominated };

/// The standing of each among all; all have the same respects in the same order. The front is those
/// that a user may choose whatever the respects are worth to him. O(count^2).
std::vector<Standing> pareto(std::span<const Costs> all);

}  // namespace longattn

#pragma once

#include <optional>
#include <span>

#include "experiments/cell.h"

namespace longattn {

/// A cost of two series at one length.
struct CostPair {
  Index length = 0;
  Estimate ours, theirs;
};

/// From which length on the first series is cheaper than the second, as far as was measured.
struct Crossover {
  /// everywhere   cheaper at every measured length
  /// from         cheaper from some measured length on, and not before
  /// never        not cheaper at the longest measured length, and their intervals are apart
  /// open         not told apart at the longest measured length
  enum class Kind { everywhere, from, never, open } kind = Kind::open;
  /// from: where the costs are equal, on the straight line between the two measured lengths around
  /// it in log-log scale; low is the last length at which the second series is cheaper (0: none
  /// measured), high the first from which on the first one is. Between low and high intervals
  /// overlap.
  Estimate length;
};

/// `pairs` by ascending length; nothing when empty. "Cheaper" means that the intervals do not
/// overlap; exact figures (memory) are intervals of no width.
std::optional<Crossover> find_crossover(std::span<const CostPair> pairs);

}  // namespace longattn

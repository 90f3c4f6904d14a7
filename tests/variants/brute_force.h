#pragma once

#include <functional>
#include <set>

#include "tests/variants/written_out.h"

namespace longattn {

/// Whether a pattern shows key j to the query at position t of a head.
using Pattern = std::function<bool(Index head, Index t, Index j)>;

/// A variant, and what its pattern is by its formula.
struct PatternCase {
  const Variant* variant;
  Problem problem;
  OptionTexts options;
  Pattern pattern;
  std::set<Index> own_projections{};  // positions whose rows read the extra tensors
};

/// Holds definition and forward against a softmax over the keys that `pattern` and the mask show,
/// as the other overload does, and the cost against a count of these pairs.
void expect_as_written_out(const PatternCase& c, Dice& dice);

}  // namespace longattn

#pragma once

#include <cstdint>
#include <functional>
#include <set>

#include "core/random.h"
#include "tests/variants/variant_testing.h"

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

/// Numbers that a case is drawn with.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  Index below(Index bound) {
    return static_cast<Index>(random_.below(counter_++, static_cast<std::uint64_t>(bound)));
  }
  Index between(Index first, Index last) { return first + below(last - first + 1); }
  bool one_in(Index n) { return below(n) == 0; }
  template <class T, size_t kCount>
  T of(const T (&list)[kCount]) {
    return list[below(kCount)];
  }

 private:
  CounterRandom random_;
  std::uint64_t counter_ = 0;
};

/// Lengths around small blocks and large tiles, masks of all kinds, few heads.
Problem drawn_problem(Dice& dice, Index longest = 97);

/// Holds definition and forward against rows that are written out: a softmax in double over the
/// keys that `pattern` and the mask show, term by term. Also logsumexp, costs and workspace, gaps
/// of strided outputs, the bits of several threads, and NaN in keys and values that are not seen.
void expect_as_written_out(const PatternCase& c, Dice& dice);

}  // namespace longattn

#pragma once

#include <string>
#include <vector>

#include "core/types.h"

namespace longattn {

/// A logarithmic axis: where it ends and what is written at it. Numbers only, so it may stand in a
/// gnuplot script.
struct Axis {
  double low = 1, high = 10;
  std::string tics;  ///< gnuplot's list: ("1 ms" 0.001, "" 0.002 1, ...)
};

/// Widens to hold a value; values that are not positive are left out.
class Range {
 public:
  void add(double value);
  bool empty() const { return !(low_ <= high_); }
  double low() const { return low_; }
  double high() const { return high_; }

 private:
  double low_ = 1e300, high_ = 0;
};

/// Each axis leaves `above` times the highest value free at its upper end, and a little below.
Axis time_axis(const Range& seconds, double above);
Axis count_axis(const Range& counts, double above);
Axis bytes_axis(const Range& bytes, double above);
Axis error_axis(const Range& errors, double above);
/// Lengths where something was measured (at most about 8 written out): "512", "1k", "1M".
Axis length_axis(const std::vector<Index>& lengths);

}  // namespace longattn

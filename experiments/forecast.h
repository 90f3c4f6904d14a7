#pragma once

#include <optional>
#include <vector>

#include "experiments/measure/calibration.h"
#include "experiments/plan.h"

namespace longattn {

/// Seconds that measuring one cell will take.
struct CellForecast {
  double pass = 0;          ///< one forward pass
  double error = 0;         ///< the pass in which it is judged
  double memory = 0;        ///< the pass in which memory is counted
  double time = 0;          ///< all rounds
  bool over_limit = false;  ///< a measurement would take longer than limits.time

  double total() const { return error + memory + time; }
};

/// What a plan will take.
struct Forecast {
  std::vector<std::optional<CellForecast>> cells;  ///< empty: not run
  double inputs_s = 0;                             ///< making them
  double total_s = 0;
};

/// Predicts, from a variant's declared cost and the machine's ceilings:
///
///   pass   = max(float32 flops / multiply-add rate, bytes moved / memory bandwidth)
///            + double-precision flops / (2 judging rate)
///   error  = start + pass + rows * key_len * (head_dim + value_dim) * definitions / judging rate,
///            definitions being full attention's, its float32 version, and the variant's own (one a
///            seed, if it has seeds)
///   memory = start + pass
///   time   = rounds * (start + pass + what the search for a number of passes takes that lasts at
///            least min_time)
///
/// each measurement cut at limits.time; the judging rate is of multiply-adds in double precision.
/// What is not modelled comes on top: exponentials, short rows, what a definition prepares (as
/// low_rank_oracle's its decomposition: about a pass more), pictures, the report. A pass may also
/// be faster than its ceilings: bfloat16 products where the processor has them, and inputs that
/// stay in the caches.
Forecast forecast(const Experiment& experiment, const std::vector<PlannedCell>& plan,
                  const Calibration& calibration);

}  // namespace longattn

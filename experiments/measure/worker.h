#pragma once

#include <span>
#include <string>

#include "core/variant.h"
#include "experiments/cell.h"

namespace longattn {

/// What one worker process is asked to do.
enum class Pass { input, error, memory, time, pattern, calibration };
std::string_view to_string(Pass pass);

/// The request for one pass over one cell.
struct WorkerRequest {
  Pass pass = Pass::error;
  Cell cell;
  std::string layout;  ///< of the shared inputs
  double min_time_s = 0.02;
  Index error_rows = 256;
  Index seeds = 1;  ///< of variants that draw
  std::uint64_t seed = 1;
  // Of a cell whose ranks are processes:
  double time_limit_s = 60;
  double memory_bytes = 8e9;  ///< of each rank
  double patience_s = 30;     ///< ring_pass.h
};
std::string to_text(const WorkerRequest& request);
/// Throws nlohmann::json::exception or DataError on what is none.
WorkerRequest request_from(const std::string& text);

/// The whole life of a worker: reads its request from standard input, maps the inputs, measures,
/// writes one JSON object to the result descriptor:
///   input                 {"input": what full attention makes of the cell's input, "spent": {...}}
///   error, memory, time   {"result": {status, reason, measured fields}, "spent": {...}}
///   pattern               {"pattern": {rows, columns, mass}, "spent": {...}}
/// (calibration is of ranks alone, rank_worker.h.) `spent` has the seconds of measured passes, of
/// warming up and of judging: the rest of the worker's life is the harness's own cost. Every pass
/// also hashes the output, so that what is timed is known to be what was judged. The error pass
/// writes into a GuardedOutput. Returns the exit code; a failure to allocate is a result (oom),
/// other exceptions are thrown.
int serve_worker(std::span<const Variant* const> variants);

}  // namespace longattn

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "experiments/cell.h"
#include "experiments/config/experiment.h"
#include "experiments/inputs/shared_inputs.h"
#include "experiments/journal.h"
#include "experiments/measure/spawn.h"
#include "experiments/measure/worker.h"
#include "experiments/progress.h"

namespace longattn {

/// What is measured and within which limits. All of it stands in the journal, so that a run is
/// resumed from its folder alone.
struct Orders {
  Measure measure;
  Limits limits;
  std::uint64_t seed = 1;
  std::string launcher;        ///< Experiment::launcher
  std::string working_folder;  ///< what paths of traces are relative to
};
nlohmann::json to_json(const Orders& orders);
Orders orders_from_json(const nlohmann::json& json);

/// Which measurements stand in a journal, and what the timing of each cell has taken.
class History {
 public:
  void add(const nlohmann::json& record);
  bool has(Pass pass, const std::string& id, Index round) const;
  Index rounds(const std::string& id) const;           ///< of timing
  double timing_seconds(const std::string& id) const;  ///< of workers, from start to end

 private:
  struct Timing {
    Index rounds = 0;
    double seconds = 0;
  };
  std::set<std::string> done_;
  std::map<std::string, Timing> timing_;
};

/// One picture is drawn of the cells that have this in common, of the shortest one.
std::string picture_group(const Cell& cell);

/// Measures what is open: the error pass of every cell; memory and pattern of those that passed;
/// then rounds of timing, interleaved over cells in an order drawn from the seed. One worker
/// process a measurement, one journal record each.
class Measuring {
 public:
  /// `results` and `history` hold what the journal holds, and are kept so.
  Measuring(const Orders& orders, Journal& journal, RunResults& results, History& history,
            const std::atomic<int>& stop);

  /// Until all is done, `stop` is set, or `max_failures` (0: any number) cells have failed.
  void run(Index max_failures);

  bool failed_too_often() const { return failed_too_often_; }
  Index steps() const { return steps_; }  ///< that were open at the beginning
  Index done() const { return done_; }    ///< of them
  Index disturbed_rounds() const { return disturbed_rounds_; }
  /// Where the time went, one line; the harness's own is what was spent neither in a forward pass
  /// nor in judging nor in making inputs.
  std::string time_spent() const;

 private:
  using Clock = std::chrono::steady_clock;
  /// Seconds of this process (inputs, journal) and of its workers.
  struct Spent {
    double measured = 0, warm_up = 0, judging = 0, failed = 0, inputs = 0, journal = 0, workers = 0;
  };

  bool open(size_t n) const { return results_.cells[n].status == Status::ok; }
  bool stopped() const { return stop_.load() != 0 || failed_too_often_; }
  Index open_steps() const;
  Index steps_after(size_t n, Pass pass) const;
  bool is_budget_spent(const std::string& id) const;
  void require_planned_content(const Cell& cell) const;
  const SharedInputs& inputs_of(const Cell& cell);
  void record(const nlohmann::json& entry);
  WorkerOutcome run_pass(const Cell& cell, Pass pass);
  nlohmann::json measure_in_worker(const Cell& cell, Pass pass, Index round);
  void measure(size_t n, Pass pass, Index round);
  void pass_over_cells(Pass pass);
  void measure_inputs();
  void draw_patterns();
  void time_in_rounds();

  const Orders& orders_;
  Journal& journal_;
  RunResults& results_;
  History& history_;
  const std::atomic<int>& stop_;
  const Index steps_;
  Index done_ = 0, workers_ = 0, disturbed_rounds_ = 0;
  Index failures_ = 0, max_failures_ = 0;
  bool failed_too_often_ = false;
  Spent spent_;
  const Clock::time_point begin_ = Clock::now();
  Progress progress_;
  std::map<std::string, SharedInputs> inputs_;
};

}  // namespace longattn

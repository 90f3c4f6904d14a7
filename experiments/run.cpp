#include "experiments/run.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <thread>

#include "core/error.h"
#include "core/io/file.h"
#include "core/random.h"
#include "experiments/inputs/shared_inputs.h"
#include "experiments/journal.h"
#include "experiments/judge/errors.h"
#include "experiments/measure/spawn.h"
#include "experiments/measure/worker.h"
#include "experiments/progress.h"
#include "experiments/provenance.h"
#include "experiments/results.h"
#include "experiments/serialize.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string default_folder(const Experiment& experiment) {
  const auto now = std::chrono::system_clock::now();
  const auto ticks = static_cast<std::uint64_t>(now.time_since_epoch().count());
  const std::uint64_t id = make_stream(ticks, static_cast<std::uint64_t>(getpid()));
  return fmt::format("results/{}/{:%Y%m%dT%H%M%SZ}-{:04x}", experiment.name,
                     fmt::gmtime(std::chrono::system_clock::to_time_t(now)), id & 0xFFFF);
}

// The folder of a run, held by a lock that the kernel lets go of when the process ends.
class RunFolder {
 public:
  explicit RunFolder(const std::string& path) : path_(path) {
    std::error_code error;
    fs::create_directories(path, error);
    if (!fs::is_directory(path)) {
      throw CreateError(fmt::format("{}: cannot create the folder: {}", path,
                                    error ? error.message() : "a file of that name exists"));
    }
    const std::string lock = file("LOCK");
    if (!fs::exists(lock)) require_empty();  // before leaving anything in a stranger's folder
    lock_ = open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock_ < 0) {
      throw CreateError(fmt::format("{}: cannot create: {}", lock, std::strerror(errno)));
    }
    if (flock(lock_, LOCK_EX | LOCK_NB) != 0) {
      const std::string owner = read_text(lock, 4096);
      close(lock_);
      throw InUseError(fmt::format("{}: in use by {}", path, owner.empty() ? "a run" : owner));
    }
    try {
      require_empty();
      sign(lock);
    } catch (...) {
      close(lock_);
      throw;
    }
  }
  ~RunFolder() { close(lock_); }
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  std::string file(std::string_view name) const { return (fs::path(path_) / name).string(); }

 private:
  void require_empty() const {
    for (const auto& entry : fs::directory_iterator(path_)) {
      if (entry.path().filename() == "LOCK") continue;
      throw CreateError(fmt::format("{}: not empty (it holds {}); a run needs a new folder", path_,
                                    entry.path().filename().string()));
    }
  }
  // Who holds the lock, for the message of a second run; also on another machine.
  void sign(const std::string& lock) const {
    char host[256] = "an unnamed host";
    gethostname(host, sizeof host - 1);
    const std::string owner = fmt::format("process {} on {}", getpid(), host);
    if (ftruncate(lock_, 0) != 0 ||
        write(lock_, owner.data(), owner.size()) != static_cast<ssize_t>(owner.size())) {
      throw IoError(fmt::format("{}: cannot write: {}", lock, std::strerror(errno)));
    }
  }

  std::string path_;
  int lock_ = -1;
};

CellResult planned_result(const PlannedCell& planned) {
  CellResult result;
  result.cell = planned.cell;
  result.declared_exact = planned.traits.exact;
  result.growth_time = planned.growth.time;
  result.growth_memory = planned.growth.memory;
  if (planned.cost) {
    result.flops = planned.cost->flops;
    result.scored_pairs = planned.cost->scored_pairs;
    result.workspace_predicted_bytes = planned.cost->workspace_bytes;
  }
  result.figures = planned.figures;
  if (planned.traits.causality == Traits::Causality::selection_sees_future) {
    result.causal_sees_future = 1;
  }
  if (!planned.unsupported.empty()) {
    result.status = Status::unsupported;
    result.reason = planned.unsupported;
  } else if (!planned.skipped.empty()) {
    result.status = Status::skipped;
    result.reason = planned.skipped;
  }
  return result;
}

class Runner {
 public:
  Runner(const Experiment& experiment, const std::vector<PlannedCell>& plan,
         const RunSettings& settings, const std::atomic<int>& stop)
      : experiment_(experiment),
        plan_(plan),
        stop_(stop),
        path_(settings.folder.empty() ? default_folder(experiment) : settings.folder),
        folder_(path_),
        journal_(folder_.file("journal.jsonl")),
        progress_(count_steps()) {
    write_text(folder_.file("config.yaml"), experiment.text);
    results_.folder = path_;
    json facts = json::array();
    for (const auto& [name, value] : machine_provenance()) facts.push_back({name, value});
    record({{"kind", "run"},
            {"experiment", experiment.name},
            {"command", settings.command},
            {"config", experiment.text},
            {"provenance", facts},
            {"limits",
             {{"time_s", experiment.limits.time_s},
              {"memory_bytes", experiment.limits.memory_bytes}}}});
    for (const PlannedCell& cell : plan_) {
      record({{"kind", "cell"},
              {"cell", to_json(cell.cell)},
              {"planned", measurements_to_json(planned_result(cell))}});
    }
  }

  RunResults run() {
    const Measure& measure = experiment_.measure;
    if (measure.error) measure_inputs();
    if (measure.error) pass_over_cells(Pass::error);
    if (measure.memory) pass_over_cells(Pass::memory);
    if (measure.patterns) draw_patterns();
    if (measure.time) time_in_rounds();
    record({{"kind", "end"}, {"status", stop_.load() == 0 ? "complete" : "interrupted"}});
    finish_results(results_);
    progress_.finish();
    return std::move(results_);
  }

 private:
  bool open(size_t n) const { return results_.cells[n].status == Status::ok; }

  Index count_steps() const {
    const Measure& m = experiment_.measure;
    const auto cells = std::ranges::count_if(plan_, [](const PlannedCell& cell) {
      return cell.unsupported.empty() && cell.skipped.empty();
    });
    return cells * ((m.error ? 1 : 0) + (m.memory ? 1 : 0) + (m.time ? m.rounds : 0));
  }

  void record(const json& entry) {
    journal_.append(entry);
    apply_record(entry, results_);
  }

  // Cells with the same input and Problem share their tensors. (The mask counts: some generators
  // look at how many keys a query sees.)
  static std::string input_key(const Cell& cell) {
    return json{to_json(cell)["input"], to_json(cell.problem)}.dump();
  }

  // Inputs are made when first needed and kept for the whole run.
  const SharedInputs& inputs_of(const Cell& cell) {
    const std::string text = input_key(cell);
    const auto found = inputs_.find(text);
    if (found != inputs_.end()) return found->second;
    progress_.note(
        fmt::format("making inputs: {}, {} tokens", cell.input.label, cell.problem.key_len));
    return inputs_.emplace(text, SharedInputs(make_inputs(cell.input, cell.problem, threads_)))
        .first->second;
  }

  void measure(size_t n, Pass pass, Index round) {
    const Cell& cell = plan_[n].cell;
    const std::string what = fmt::format("{} {} tokens: {}", short_label(cell, results_.cells),
                                         cell.problem.key_len, to_string(pass));
    progress_.begin(pass == Pass::time ? fmt::format("{} round {}", what, round + 1) : what);
    const SharedInputs& shared = inputs_of(cell);
    const WorkerRequest request{pass,
                                cell,
                                shared.layout(),
                                experiment_.measure.min_time_s,
                                experiment_.measure.error_rows,
                                experiment_.measure.seeds,
                                experiment_.seed};
    // The limit is on the variant: what its judge needs comes on top.
    const bool judges = pass == Pass::input || pass == Pass::error || pass == Pass::pattern;
    const WorkerLimits limits{
        experiment_.limits.time_s,
        experiment_.limits.memory_bytes + (judges ? judging_bytes(cell.problem, cell.threads) : 0),
        cell.threads};
    const WorkerOutcome outcome = run_worker(to_text(request), shared.descriptor(), limits, stop_);
    if (outcome.interrupted) return;
    json entry = {{"kind", to_string(pass)}, {"id", cell.id}, {"round", round}};
    if (outcome.status == Status::ok) {
      const json answer = json::parse(outcome.output, nullptr, false);
      if (answer.is_object()) {
        entry.update(answer);
      } else {
        entry["result"] = {{"status", "crash"}, {"reason", "the worker ended without a result"}};
      }
    } else {
      entry["result"] = {{"status", to_string(outcome.status)}, {"reason", outcome.reason}};
      entry["log"] = outcome.log;  // the end of what it said on standard error
    }
    // A picture is no verdict on the variant, and neither is what its input is like.
    const bool verdict = pass != Pass::pattern && pass != Pass::input;
    if (!verdict && !entry.contains(to_string(pass))) return;
    record(entry);
    if (verdict) progress_.done();
    if (!open(n)) {
      progress_.drop(steps_after(pass, round));
      progress_.note(fmt::format("{} {}: {}", what, to_string(results_.cells[n].status),
                                 results_.cells[n].reason));
    }
  }

  // Measurements of a cell that its failure in this one saves.
  Index steps_after(Pass pass, Index round) const {
    const Measure& m = experiment_.measure;
    const Index rounds = m.time ? m.rounds : 0;
    if (pass == Pass::error) return (m.memory ? 1 : 0) + rounds;
    return pass == Pass::memory ? rounds : rounds - round - 1;
  }

  void pass_over_cells(Pass pass) {
    for (size_t n = 0; n < plan_.size() && stop_.load() == 0; ++n) {
      if (open(n)) measure(n, pass, 0);
    }
  }

  // Once per input and Problem, whatever the variant.
  void measure_inputs() {
    std::set<std::string> done;
    for (size_t n = 0; n < plan_.size() && stop_.load() == 0; ++n) {
      if (open(n) && done.insert(input_key(plan_[n].cell)).second) measure(n, Pass::input, 0);
    }
  }

  // One picture per variant, options and input, at its shortest length.
  void draw_patterns() {
    std::map<std::string, size_t> shortest;
    for (size_t n = 0; n < plan_.size(); ++n) {
      if (!open(n) || plan_[n].cell.threads != plan_.front().cell.threads) continue;
      const Cell& cell = plan_[n].cell;
      const std::string key = json{cell.input.label, cell.variant, to_json(cell)["options"]}.dump();
      const auto [found, fresh] = shortest.try_emplace(key, n);
      if (!fresh && cell.problem.key_len < plan_[found->second].cell.problem.key_len) {
        found->second = n;
      }
    }
    std::vector<size_t> cells;
    for (const auto& [key, n] : shortest) cells.push_back(n);
    std::ranges::sort(cells);
    for (size_t n : cells) {
      if (stop_.load() == 0) measure(n, Pass::pattern, 0);
    }
  }

  void time_in_rounds() {
    for (Index round = 0; round < experiment_.measure.rounds; ++round) {
      std::vector<size_t> order(plan_.size());
      std::iota(order.begin(), order.end(), size_t{0});
      const CounterRandom random(experiment_.seed,
                                 make_stream(0x0DE4, static_cast<std::uint64_t>(round)));
      for (size_t n = order.size(); n > 1; --n) {  // Fisher-Yates
        std::swap(order[n - 1], order[random.below(n, n)]);
      }
      for (size_t n : order) {
        if (open(n) && stop_.load() == 0) measure(n, Pass::time, round);
      }
    }
  }

  const Experiment& experiment_;
  const std::vector<PlannedCell>& plan_;
  const std::atomic<int>& stop_;
  const std::string path_;
  RunFolder folder_;
  Journal journal_;
  Progress progress_;
  RunResults results_;
  const int threads_ = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  std::map<std::string, SharedInputs> inputs_;
};

}  // namespace

RunResults run_experiment(const Experiment& experiment, const std::vector<PlannedCell>& plan,
                          const RunSettings& settings, const std::atomic<int>& stop) {
  return Runner(experiment, plan, settings, stop).run();
}

}  // namespace longattn

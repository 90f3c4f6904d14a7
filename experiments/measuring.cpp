#include "experiments/measuring.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <thread>

#include "core/error.h"
#include "core/io/text.h"
#include "core/random.h"
#include "experiments/judge/errors.h"
#include "experiments/measure/rank_worker.h"
#include "experiments/measure/spent.h"
#include "experiments/plan.h"
#include "experiments/results.h"
#include "experiments/serialize.h"

namespace longattn {

using nlohmann::json;

namespace {

constexpr Index kFewestRounds = 3;  // of timing, whatever the budget

std::string key_of(std::string_view kind, const std::string& id, Index round) {
  return fmt::format("{} {} {}", kind, id, round);
}

// What a worker's result means for its cell.
json entry_from(const WorkerOutcome& outcome, const Limits& limits) {
  json entry;
  if (outcome.status == Status::ok) {
    entry = json::parse(outcome.output, nullptr, false);
    if (!entry.is_object()) {
      entry = {{"result", {{"status", "crash"}, {"reason", "the worker ended without a result"}}}};
    }
  } else {
    entry["result"] = {{"status", to_string(outcome.status)}, {"reason", outcome.reason}};
    entry["log"] = outcome.log;  // the end of what it said on standard error
  }
  if (entry.contains("result") && entry["result"]["status"] == to_string(Status::oom)) {
    const auto reason = entry["result"]["reason"].get<std::string>();
    entry["result"]["reason"] =
        fmt::format("{}; limits.memory is {:.3g} GB", reason, limits.memory_bytes / 1e9);
  }
  return entry;
}

// Cells with the same input and Problem share their tensors. (The mask counts: some generators look
// at how many keys a query sees.)
std::string input_key(const Cell& cell) {
  return json{to_json(cell)["input"], to_json(cell.problem)}.dump();
}

// A picture is no verdict on the variant, and neither is what its input is like.
bool is_verdict(Pass pass) { return pass != Pass::pattern && pass != Pass::input; }

}  // namespace

json to_json(const Orders& orders) {
  return {{"measure", to_json(orders.measure)},
          {"limits",
           {{"time_s", orders.limits.time_s},
            {"memory_bytes", orders.limits.memory_bytes},
            {"patience_s", orders.limits.patience_s}}},
          {"seed", orders.seed},
          {"launcher", orders.launcher},
          {"working_folder", orders.working_folder}};
}

Orders orders_from_json(const json& in) {
  Orders orders;
  orders.measure = measure_from_json(in.at("measure"));
  orders.limits.time_s = in.at("limits").at("time_s");
  orders.limits.memory_bytes = in.at("limits").at("memory_bytes");
  orders.limits.patience_s = in.at("limits").at("patience_s");
  orders.launcher = in.at("launcher");
  orders.seed = static_cast<std::uint64_t>(integer_from(in.at("seed")));
  orders.working_folder = in.at("working_folder");
  return orders;
}

std::string picture_group(const Cell& cell) {
  return json{cell.input.label, cell.variant, to_json(cell)["options"]}.dump();
}

void History::add(const json& record) {
  if (!record.contains("id")) return;
  const auto kind = record.at("kind").get<std::string>();
  const auto id = record.at("id").get<std::string>();
  done_.insert(key_of(kind, id, record.contains("round") ? integer_from(record.at("round")) : 0));
  if (kind != to_string(Pass::time)) return;
  ++timing_[id].rounds;
  timing_[id].seconds += record.value("wall_s", 0.0);
}

bool History::has(Pass pass, const std::string& id, Index round) const {
  return done_.contains(key_of(to_string(pass), id, round));
}

Index History::rounds(const std::string& id) const {
  const auto found = timing_.find(id);
  return found == timing_.end() ? 0 : found->second.rounds;
}

double History::timing_seconds(const std::string& id) const {
  const auto found = timing_.find(id);
  return found == timing_.end() ? 0 : found->second.seconds;
}

Measuring::Measuring(const Orders& orders, Journal& journal, RunResults& results, History& history,
                     const std::atomic<int>& stop)
    : orders_(orders),
      journal_(journal),
      results_(results),
      history_(history),
      stop_(stop),
      steps_(open_steps()),
      progress_(steps_) {}

void Measuring::run(Index max_failures) {
  max_failures_ = max_failures;
  if (orders_.measure.error) {
    measure_inputs();
    pass_over_cells(Pass::error);
  }
  if (orders_.measure.memory) pass_over_cells(Pass::memory);
  if (orders_.measure.patterns) draw_patterns();
  if (orders_.measure.time) time_in_rounds();
  progress_.finish();
}

Index Measuring::open_steps() const {
  Index steps = 0;
  for (size_t n = 0; n < results_.cells.size(); ++n) {
    const std::string& id = results_.cells[n].cell.id;
    if (!open(n)) continue;
    if (orders_.measure.error && !history_.has(Pass::error, id, 0)) ++steps;
    steps += steps_after(n, Pass::error);
  }
  return steps;
}

// Measurements of a cell that are still to come behind this pass (in timing: behind this round).
Index Measuring::steps_after(size_t n, Pass pass) const {
  const Measure& m = orders_.measure;
  const std::string& id = results_.cells[n].cell.id;
  Index steps = m.time ? m.rounds - history_.rounds(id) : 0;
  if (pass == Pass::error && m.memory && !history_.has(Pass::memory, id, 0)) ++steps;
  return steps;
}

void Measuring::record(const json& entry) {
  const Clock::time_point begin = Clock::now();
  journal_.append(entry);
  spent_.journal += seconds_since(begin);
  apply_record(entry, results_);
  history_.add(entry);
}

// A trace that is not what was planned: its figures would stand under the id of another cell.
void Measuring::require_planned_content(const Cell& cell) const {
  if (!cell.input.is_trace()) return;
  const std::string now = content_hash(cell.input);
  if (now == cell.input_hash) return;
  throw DataError(
      fmt::format("{}: the content is not what it was when this run began: its hash was {}, now it "
                  "is {}. What was measured before is kept in {}; start a new run",
                  printable(cell.input.path), cell.input_hash, now, printable(results_.folder)));
}

// Inputs are made when first needed and kept for the whole run.
const SharedInputs& Measuring::inputs_of(const Cell& cell) {
  const std::string text = input_key(cell);
  const auto found = inputs_.find(text);
  if (found != inputs_.end()) return found->second;
  progress_.note(
      fmt::format("making inputs: {}, {} tokens", cell.input.label, cell.problem.key_len));
  const Clock::time_point begin = Clock::now();
  const int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  require_planned_content(cell);
  SharedInputs shared(make_inputs(cell.input, cell.problem, threads, &stop_));
  require_planned_content(cell);  // nor did it change while it was read
  const auto made = inputs_.emplace(text, std::move(shared));
  spent_.inputs += seconds_since(begin);
  return made.first->second;
}

WorkerOutcome Measuring::run_pass(const Cell& cell, Pass pass) {
  const int ranks = process_count(cell);
  WorkerRequest request{pass,
                        cell,
                        "",
                        orders_.measure.min_time_s,
                        orders_.measure.error_rows,
                        orders_.measure.seeds,
                        orders_.seed,
                        orders_.limits.time_s,
                        orders_.limits.memory_bytes,
                        orders_.limits.patience_s};
  // The limit is on the variant: what its judge needs comes on top.
  const bool judges = pass == Pass::input || pass == Pass::error || pass == Pass::pattern;
  const WorkerLimits limits{
      orders_.limits.time_s,
      orders_.limits.memory_bytes + (judges ? judging_bytes(cell.problem, cell.threads) : 0),
      cell.threads};
  if (ranks > 0) {  // each makes its own inputs
    require_planned_content(cell);
    request.memory_bytes = limits.memory_bytes;
    return run_ranks(to_text(request), launcher_of(orders_.launcher, ranks), limits, stop_);
  }
  const SharedInputs& shared = inputs_of(cell);
  request.layout = shared.layout();
  return run_worker(to_text(request), shared.descriptor(), limits, stop_);
}

// The journal entry of one measurement; null when it was cancelled.
json Measuring::measure_in_worker(const Cell& cell, Pass pass, Index round) {
  const double inputs_before = spent_.inputs;
  const Clock::time_point begin = Clock::now();
  WorkerOutcome outcome;
  try {
    outcome = run_pass(cell, pass);
  } catch (const StoppedError&) {
    return nullptr;
  }
  // Without the inputs that had to be made for it: they are no time of this cell.
  const double wall = seconds_since(begin) - (spent_.inputs - inputs_before);
  ++workers_;
  if (outcome.interrupted) {
    spent_.failed += wall;
    return nullptr;
  }
  json entry = entry_from(outcome, orders_.limits);
  entry.update({{"kind", to_string(pass)}, {"id", cell.id}, {"round", round}, {"wall_s", wall}});
  if (entry.contains("spent")) {
    const json& spent = entry["spent"];
    spent_.measured += spent.value("measured_s", 0.0);
    spent_.warm_up += spent.value("warm_up_s", 0.0);
    spent_.judging += spent.value("judging_s", 0.0);
    for (const auto& [name, seconds] : spent.items()) spent_.workers -= seconds.get<double>();
    spent_.workers += wall;
  } else {
    spent_.failed += wall;
  }
  return entry;
}

void Measuring::measure(size_t n, Pass pass, Index round) {
  const Cell& cell = results_.cells[n].cell;
  std::string what = fmt::format("{} {} tokens: {}", ShortLabels(results_.cells).of(cell),
                                 cell.problem.key_len, to_string(pass));
  if (pass == Pass::time) what += fmt::format(" round {}", round + 1);
  progress_.begin(what);
  const Index disturbed = results_.cells[n].disturbed_rounds;
  const json entry = measure_in_worker(cell, pass, round);
  if (entry.is_null()) return;
  if (!is_verdict(pass) && !entry.contains(to_string(pass))) {
    progress_.note(fmt::format("{}: none, {}", what, entry["result"].value("reason", "it failed")));
    return;
  }
  record(entry);
  disturbed_rounds_ += results_.cells[n].disturbed_rounds - disturbed;
  if (is_verdict(pass)) {
    ++done_;
    progress_.done();
  }
  if (open(n)) return;
  progress_.drop(steps_after(n, pass));
  progress_.note(fmt::format("{} {}: {}", what, to_string(results_.cells[n].status),
                             results_.cells[n].reason));
  failed_too_often_ = ++failures_ == max_failures_;
}

void Measuring::pass_over_cells(Pass pass) {
  for (size_t n = 0; n < results_.cells.size() && !stopped(); ++n) {
    if (open(n) && !history_.has(pass, results_.cells[n].cell.id, 0)) measure(n, pass, 0);
  }
}

// Once per input and Problem, whatever the variant.
void Measuring::measure_inputs() {
  std::set<std::string> known;
  for (const CellResult& result : results_.cells) {
    if (history_.has(Pass::input, result.cell.id, 0)) known.insert(input_key(result.cell));
  }
  for (size_t n = 0; n < results_.cells.size() && !stopped(); ++n) {
    // Nobody holds the inputs of ranks that are processes.
    if (!open(n) || process_count(results_.cells[n].cell) > 0) continue;
    if (known.insert(input_key(results_.cells[n].cell)).second) {
      measure(n, Pass::input, 0);
    }
  }
}

// One picture per variant, options and input, at its shortest length.
void Measuring::draw_patterns() {
  const std::vector<CellResult>& cells = results_.cells;
  std::map<std::string, size_t> shortest;
  for (size_t n = 0; n < cells.size(); ++n) {
    const Cell& cell = cells[n].cell;
    // One that has been drawn counts, whatever has become of its cell since.
    const bool drawable = open(n) || history_.has(Pass::pattern, cell.id, 0);
    if (process_count(cell) > 0) continue;  // nor are they drawn
    if (!drawable || cell.threads != cells.front().cell.threads) continue;
    const auto [found, fresh] = shortest.try_emplace(picture_group(cell), n);
    if (!fresh && cell.problem.key_len < cells[found->second].cell.problem.key_len) {
      found->second = n;
    }
  }
  std::vector<size_t> chosen;
  for (const auto& [key, n] : shortest) chosen.push_back(n);
  std::ranges::sort(chosen);
  for (size_t n : chosen) {
    if (!stopped() && !history_.has(Pass::pattern, cells[n].cell.id, 0)) {
      measure(n, Pass::pattern, 0);
    }
  }
}

// One more round would exceed what the cell may take.
bool Measuring::is_budget_spent(const std::string& id) const {
  const Index rounds = history_.rounds(id);
  if (orders_.measure.max_time_s <= 0 || rounds < kFewestRounds) return false;
  const double seconds = history_.timing_seconds(id);
  return seconds + seconds / static_cast<double>(rounds) > orders_.measure.max_time_s;
}

void Measuring::time_in_rounds() {
  for (Index round = 0; round < orders_.measure.rounds; ++round) {
    std::vector<size_t> order(results_.cells.size());
    std::iota(order.begin(), order.end(), size_t{0});
    const CounterRandom random(orders_.seed,
                               make_stream(0x0DE4, static_cast<std::uint64_t>(round)));
    for (size_t n = order.size(); n > 1; --n) {  // Fisher-Yates
      std::swap(order[n - 1], order[random.below(n, n)]);
    }
    for (size_t n : order) {
      const std::string& id = results_.cells[n].cell.id;
      if (stopped() || !open(n) || history_.has(Pass::time, id, round)) continue;
      if (is_budget_spent(id)) {
        progress_.drop(1);
      } else {
        measure(n, Pass::time, round);
      }
    }
  }
}

std::string Measuring::time_spent() const {
  if (workers_ == 0) return "nothing was left to measure";
  const double wall = seconds_since(begin_);
  const double own =
      wall - spent_.measured - spent_.warm_up - spent_.judging - spent_.failed - spent_.inputs;
  std::string text = fmt::format(
      "{:.1f} s: measured passes {:.1f} s, warming up {:.1f} s, judging "
      "{:.1f} s, making inputs {:.1f} s, ",
      wall, spent_.measured, spent_.warm_up, spent_.judging, spent_.inputs);
  if (spent_.failed > 0) text += fmt::format("failed or cancelled {:.1f} s, ", spent_.failed);
  return text + fmt::format(
                    "the harness itself {:.1f} s or {:.1f} % ({} workers {:.1f} s, journal "
                    "{:.1f} s)",
                    own, wall > 0 ? 100 * own / wall : 0.0, workers_, spent_.workers,
                    spent_.journal);
}

}  // namespace longattn

#include "experiments/run.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/file.h"
#include "core/io/text.h"
#include "experiments/config/document.h"
#include "experiments/journal.h"
#include "experiments/machine_check.h"
#include "experiments/measuring.h"
#include "experiments/progress.h"
#include "experiments/provenance.h"
#include "experiments/results.h"
#include "experiments/resume_checks.h"
#include "experiments/run_folder.h"
#include "experiments/serialize.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

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

// "load, huge pages"; empty when nothing disturbs.
std::string disturbances() {
  std::vector<std::string> found;
  for (const MachineFact& fact : examine_machine()) {
    if (fact.state == MachineFact::State::disturbs) found.push_back(fact.subject);
  }
  return fmt::format("{}", fmt::join(found, ", "));
}

// All that is known before anything is measured.
std::vector<json> head_records(const Experiment& experiment, const std::vector<PlannedCell>& plan,
                               const RunSettings& settings) {
  json facts = json::array();
  for (const auto& [name, value] : machine_provenance()) facts.push_back({name, value});
  if (const std::string found = disturbances(); !found.empty() && experiment.measure.time) {
    facts.push_back({"may disturb times", found});
    say(fmt::format("times may vary, because of: {} (longattn doctor says what to do)\n", found));
  }
  json run = to_json(Orders{experiment.measure, experiment.limits, experiment.seed,
                            experiment.launcher, fs::current_path().string()});
  run.update({{"kind", "run"},
              {"experiment", experiment.name},
              {"command", settings.command},
              {"config", experiment.text},
              {"config_path", fs::absolute(experiment.path).string()},
              {"overrides", settings.overrides},
              {"shard", to_string(settings.shard)},
              {"provenance", facts}});
  std::vector<json> records = {run};
  std::vector<Cell> cells;
  for (const PlannedCell& planned : plan) cells.push_back(planned.cell);
  const std::vector<Index> shards = shard_of_cells(cells, settings.shard.count);
  if (!shards.empty() && std::ranges::find(shards, settings.shard.index) == shards.end()) {
    throw Error(
        fmt::format("shard {} has no cells: there are only {} combinations of input and "
                    "length, and the cells of one stay together",
                    to_string(settings.shard), *std::ranges::max_element(shards)));
  }
  for (size_t n = 0; n < plan.size(); ++n) {
    CellResult result = planned_result(plan[n]);
    if (result.status == Status::ok && shards[n] != settings.shard.index) {
      result.status = Status::skipped;
      result.reason = left_to({shards[n], settings.shard.count});
    }
    records.push_back({{"kind", "cell"},
                       {"cell", to_json(result.cell)},
                       {"planned", measurements_to_json(result)}});
  }
  return records;
}

// Measures what the journal does not hold yet.
RunOutcome go_on(const Orders& orders, Journal& journal, RunResults results, History& history,
                 Index max_failures, const std::atomic<int>& stop) {
  RunOutcome outcome;
  try {
    Measuring measuring(orders, journal, results, history, stop);
    measuring.run(max_failures);
    outcome.measured = measuring.done();
    outcome.planned = measuring.steps();
    outcome.disturbed_rounds = measuring.disturbed_rounds();
    outcome.failed_too_often = measuring.failed_too_often();
    outcome.time_spent = measuring.time_spent();
    const char* const status = stop.load() != 0           ? "interrupted"
                               : outcome.failed_too_often ? "ended after too many failures"
                                                          : "complete";
    json end = {{"kind", "end"}, {"status", status}};
    if (measuring.steps() > 0) end["spent"] = outcome.time_spent;
    journal.append(end);
    apply_record(end, results);
  } catch (const IoError& error) {
    throw IoError(
        fmt::format("{}. What was measured before is kept; go on with: longattn run "
                    "--resume {}",
                    error.what(), printable(results.folder)));
  }
  finish_results(results);
  outcome.results = std::move(results);
  return outcome;
}

// The config as it is now, if there is one to compare with.
void require_same_config(const json& run, const std::optional<std::string>& given,
                         const std::string& folder) {
  const std::string path = given.value_or(run.at("config_path").get<std::string>());
  if (!given && !fs::exists(path)) return;
  const auto overrides = run.at("overrides").get<std::vector<std::string>>();
  const auto before = run.at("config").get<std::string>();
  const ConfigDocument now = read_document(path, overrides);
  // Comments, and where a text says that it comes from, do not count.
  Diagnostics found_before;
  const YamlNode root = parse_yaml({.name = folder, .text = before}, found_before);
  if (to_yaml(root) == to_yaml(now.root)) return;
  const std::string difference = differing_lines(before, now.text);
  throw Error(fmt::format(
      "{} is not what it was when this run began:{}\nnothing was measured. To go on as the run "
      "began: longattn run {} --resume {}; for the changed config start a new run",
      printable(path), difference, printable((fs::path(folder) / "config.yaml").string()),
      printable(folder)));
}

// Traces, and files that options name.
void require_same_files(const RunResults& results, std::span<const Variant* const> variants,
                        std::uint64_t seed) {
  std::map<std::string, std::string> files;
  for (const CellResult& result : results.cells) {
    if (result.status != Status::ok) continue;
    Cell now = result.cell;
    const Variant& variant = require_variant(variants, now.variant);
    identify(now, {&variant, Options(variant.options, now.options)}, seed, files);
    if (now.id == result.cell.id) continue;
    const bool trace = now.input_hash != result.cell.input_hash;
    throw Error(fmt::format(
        "{}: the content is not what it was when this run began; nothing was "
        "measured. Start a new run",
        trace ? printable(now.input.path) : "a file that an option of " + now.variant + " names"));
  }
}

}  // namespace

RunOutcome run_experiment(const Experiment& experiment, const std::vector<PlannedCell>& plan,
                          const RunSettings& settings, const std::atomic<int>& stop) {
  const std::vector<json> head = head_records(experiment, plan, settings);
  const RunFolder folder = settings.folder.empty()
                               ? RunFolder::create_named_after_time("results/" + experiment.name)
                               : RunFolder::create(settings.folder);
  Journal journal = Journal::create(folder.journal(), head);
  write_text(folder.file("config.yaml"), experiment.text);
  RunResults results;
  results.folder = folder.path();
  for (const json& record : head) apply_record(record, results);
  History history;
  return go_on(orders_from_json(head.front()), journal, std::move(results), history,
               settings.max_failures, stop);
}

RunOutcome resume_run(const std::string& given, const std::optional<std::string>& config,
                      std::span<const Variant* const> variants, Index max_failures,
                      const std::atomic<int>& stop) {
  const std::string path = fs::absolute(given).string();
  const RunFolder folder = RunFolder::reopen(path);
  RunResults results;
  results.folder = path;
  History history;
  json run;
  read_journal(folder.journal(), [&](const json& record) {
    if (record.at("kind") == "run") run = record;
    apply_record(record, results);
    history.add(record);
  });
  if (run.is_null() || !run.contains("working_folder")) {
    throw Error(fmt::format("{}: written by an older version; start a new run", printable(path)));
  }
  const Orders orders = orders_from_json(run);
  const Provenance now = machine_provenance();
  const std::string difference = differing_facts(results.provenance, now);
  if (!difference.empty()) {
    throw Error(
        fmt::format("{}: this is not the build or the machine that the run began with:{}\n"
                    "nothing was measured. Figures of two machines or builds do not belong "
                    "in one table: start a new run",
                    printable(path), difference));
  }
  require_same_config(run, config, path);
  // Paths in the journal are relative to where the run began.
  std::error_code gone;
  fs::current_path(orders.working_folder, gone);
  require_same_files(results, variants, orders.seed);
  Journal journal = Journal::resume(folder.journal());
  if (journal.was_torn()) {
    say(fmt::format("{}: the last line is torn; that measurement is made again\n",
                    printable(folder.journal())));
  }
  if (!fs::exists(folder.file("config.yaml"))) {
    write_text(folder.file("config.yaml"), run.at("config").get<std::string>());
  }
  const json resumed = {{"kind", "resume"}, {"date", now.front().second}};
  journal.append(resumed);
  apply_record(resumed, results);
  return go_on(orders, journal, std::move(results), history, max_failures, stop);
}

}  // namespace longattn

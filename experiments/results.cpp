#include "experiments/results.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/text.h"
#include "experiments/journal.h"
#include "experiments/judge/statistics.h"
#include "experiments/serialize.h"

namespace longattn {
namespace {

using nlohmann::json;

CellResult& cell_of(RunResults& results, const json& record) {
  const auto id = record.at("id").get<std::string>();
  if (const CellResult* found = results.find(id))
    return results.cells[static_cast<size_t>(found - results.cells.data())];
  throw DataError(fmt::format("record of cell {} which is not in the plan", id));
}

// What is known of a cell before anything is measured.
void add_cell(const json& record, RunResults& results) {
  CellResult result;
  result.cell = cell_from_json(record.at("cell"));
  apply_measurements(record.at("planned"), result);
  results.cells.push_back(std::move(result));
}

void apply_verdict(const json& record, RunResults& results) {
  CellResult& result = cell_of(results, record);
  const Status before = result.status;
  const std::string reason = result.reason;
  apply_measurements(record.at("result"), result);
  if (before == Status::ok && record.contains("log")) result.log = record.at("log");
  // The first failure stays: a later pass that went well does not undo it.
  if (before != Status::ok) {
    result.status = before;
    result.reason = reason;
  }
}

void add_pattern(const json& record, RunResults& results) {
  PatternPicture picture;
  picture.cell_id = record.at("id");
  const json& in = record.at("pattern");
  picture.rows = integer_from(in.at("rows"));
  picture.columns = integer_from(in.at("columns"));
  picture.mass = in.at("mass").get<std::vector<float>>();
  const auto size = static_cast<Index>(picture.mass.size());
  if (picture.rows < 1 || size % picture.rows != 0 || size / picture.rows != picture.columns) {
    throw DataError(
        fmt::format("pattern of {} x {} bins has {} values", picture.rows, picture.columns, size));
  }
  results.patterns.push_back(std::move(picture));
}

void add_input(const json& record, RunResults& results) {
  InputResult input = input_from_json(record.at("input"));
  cell_of(results, json{{"id", input.cell_id}});
  results.inputs.push_back(std::move(input));
}

void add_run(const json& record, RunResults& results) {
  results.experiment = record.at("experiment");
  results.command = record.at("command");
  results.config_text = record.at("config");
  if (record.contains("measure")) {  // not in folders of versions before 0.2
    const Measure measure = measure_from_json(record.at("measure"));
    results.rounds = measure.time ? measure.rounds : 0;
    results.error_budget = measure.error_budget;
  }
  for (const json& fact : record.at("provenance")) {
    results.provenance.emplace_back(fact.at(0).get<std::string>(), fact.at(1).get<std::string>());
  }
  if (record.contains("limits")) {
    results.time_limit_s = record.at("limits").at("time_s").get<double>();
    results.memory_limit_bytes = record.at("limits").at("memory_bytes").get<double>();
  }
}

std::string option_of(const Cell& cell, std::string_view name) {
  for (const auto& [option, text] : cell.options) {
    if (option == name) return text;
  }
  return "";
}

// What a low-rank method is read against: the nearest weights of its rank on the same rows, where
// the run has them too. (For restricted rows the judge finds the best keys itself; the nearest
// weights take the whole matrix.)
void find_rank_oracle(const RunResults& results, CellResult& result) {
  if (result.cell.variant != "linformer" || result.oracle_error) return;
  for (const CellResult& other : results.cells) {
    if (other.cell.variant != "low_rank_oracle" || other.status != Status::ok) continue;
    if (!other.relative_error) continue;
    const Cell &ours = result.cell, &theirs = other.cell;
    if (option_of(ours, "projected_len") != option_of(theirs, "k")) continue;
    if (ours.input_hash != theirs.input_hash || ours.input.label != theirs.input.label) continue;
    if (to_json(ours.problem) != to_json(theirs.problem)) continue;
    if (result.sampled_rows != other.sampled_rows) continue;
    result.oracle_error = other.relative_error->value;
  }
}

}  // namespace

void apply_record(const json& record, RunResults& results) {
  const json& kind = record.at("kind");
  if (kind == "run") {
    add_run(record, results);
  } else if (kind == "cell") {
    add_cell(record, results);
  } else if (kind == "error" || kind == "memory" || kind == "time") {
    apply_verdict(record, results);
  } else if (kind == "input") {
    add_input(record, results);
  } else if (kind == "pattern") {
    add_pattern(record, results);
  } else if (kind == "resume") {
    results.provenance.emplace_back("resumed", record.at("date").get<std::string>());
  } else if (kind == "end") {
    // A run that is resumed ends more than once; the last time counts.
    std::erase_if(results.provenance, [](const auto& fact) { return fact.first == "ended"; });
    results.provenance.emplace_back("ended", record.at("status").get<std::string>());
    if (record.contains("spent")) {
      results.provenance.emplace_back("time spent", record.at("spent").get<std::string>());
    }
  } else {
    throw DataError("unknown record kind " + kind.dump());
  }
}

void finish_results(RunResults& results) {
  for (CellResult& result : results.cells) {
    const bool measured = result.sampled_rows > 0 || result.heap_peak_bytes ||
                          result.workspace_bytes || !result.round_seconds.empty();
    if (result.status == Status::ok && !measured) {
      result.status = Status::skipped;
      result.reason = "the run ended before it was measured";
    }
    if (result.status == Status::nonconforming || result.status == Status::nan) {
      result.round_seconds.clear();  // a wrong result has no speed
    }
    result.rounds_asked = results.rounds;
    result.few_rounds = result.status == Status::ok &&
                        static_cast<Index>(result.round_seconds.size()) < results.rounds;
    if (!result.round_seconds.empty()) result.time_s = median_interval(result.round_seconds);
    find_rank_oracle(results, result);
  }
  const ShortLabels labels(results.cells);
  for (PatternPicture& picture : results.patterns) {
    if (const CellResult* result = results.find(picture.cell_id)) {
      picture.title = fmt::format("{}, {}, {} tokens", labels.of(result->cell),
                                  result->cell.input.label, result->cell.problem.key_len);
    }
  }
}

RunResults results_from_folder(const std::string& folder) {
  RunResults results;
  results.folder = folder;
  const std::string path = (std::filesystem::path(folder) / "journal.jsonl").string();
  if (!std::filesystem::exists(path)) {
    throw IoError(
        fmt::format("{}: no journal.jsonl in it; expected the folder of a run", printable(folder)));
  }
  const bool whole = read_journal(path, [&](const json& record) { apply_record(record, results); });
  if (results.experiment.empty() && results.cells.empty()) {
    throw DataError(fmt::format("{}: holds no run, only a header", printable(path)));
  }
  if (!whole) results.provenance.emplace_back("journal", "the last line is torn and left out");
  const auto ended = std::ranges::find(results.provenance, "ended", &Provenance::value_type::first);
  if (ended == results.provenance.end()) {
    results.provenance.emplace_back("ended", "not yet, or the run was killed");
  }
  finish_results(results);
  return results;
}

}  // namespace longattn

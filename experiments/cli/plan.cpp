#include "experiments/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "core/io/text.h"
#include "experiments/cli/commands.h"
#include "experiments/exit_codes.h"
#include "experiments/serialize.h"

namespace longattn {
namespace {

using nlohmann::json;

std::string status_of(const PlannedCell& cell) {
  if (!cell.unsupported.empty()) return "unsupported: " + cell.unsupported;
  if (!cell.skipped.empty()) return "skipped: " + cell.skipped;
  return "runs";
}

std::string settings(const Cell& cell) {
  std::string text = cell.variant;
  for (const auto& [name, value] : cell.options) text += fmt::format(" {}={}", name, value);
  return text;
}

void print_plan(const Experiment& experiment, const std::vector<PlannedCell>& plan) {
  fmt::print("{}: {} cells, {} timing rounds each\n\n", experiment.name, plan.size(),
             experiment.measure.time ? experiment.measure.rounds : 0);
  std::string input;
  for (const PlannedCell& cell : plan) {
    if (cell.cell.input.label != input) {
      input = cell.cell.input.label;
      fmt::print("{}\n{:>9} {:>7} {:>12} {:>13} {:>12}  {}\n", printable(input), "tokens",
                 "threads", "GFLOP", "scored pairs", "workspace", "variant");
    }
    const Cost cost = cell.cost.value_or(Cost{});
    fmt::print("{:>9} {:>7} {:>12.4g} {:>13.4g} {:>8.4g} MiB  {}\n", cell.cell.problem.key_len,
               cell.cell.threads, cost.flops / 1e9, cost.scored_pairs,
               cost.workspace_bytes / 0x1p20, settings(cell.cell));
    if (!cell.unsupported.empty() || !cell.skipped.empty()) {
      fmt::print("{:>9} {}\n", "", status_of(cell));
    }
  }
}

json plan_json(const Experiment& experiment, const std::vector<PlannedCell>& plan) {
  json cells = json::array();
  for (const PlannedCell& cell : plan) {
    json entry = to_json(cell.cell);
    entry["status"] = status_of(cell);
    if (cell.cost) {
      entry["flops"] = cell.cost->flops;
      entry["scored_pairs"] = cell.cost->scored_pairs;
      entry["bytes_moved"] = cell.cost->bytes_moved;
      entry["workspace_bytes"] = cell.cost->workspace_bytes;
    }
    cells.push_back(entry);
  }
  return {{"experiment", experiment.name}, {"rounds", experiment.measure.rounds}, {"cells", cells}};
}

}  // namespace

void add_plan(CLI::App& app, const Invocation& invocation, Action& chosen) {
  CLI::App* command = app.add_subcommand(
      "plan", "Show what a config file would measure, with predicted cost, and run nothing");
  struct Arguments {
    std::string config;
    bool as_json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  command->add_option("config", arguments->config, "YAML file")->required();
  command->add_flag("--json", arguments->as_json, "for programs");
  command->footer(
      "GFLOP counts 2 per multiply-add of the matrix products; scored pairs are (query, key) "
      "pairs\n"
      "that get a score, over all heads; workspace is the scratch memory of one forward pass. For\n"
      "patterns that depend on the content these are upper bounds.");
  command->callback([&, arguments] {
    chosen = [&, arguments]() -> int {
      const Experiment experiment = read_experiment(arguments->config, invocation.variants);
      const std::vector<PlannedCell> plan = make_plan(experiment);
      if (arguments->as_json) {
        fmt::print("{}\n", plan_json(experiment, plan).dump(2));
      } else {
        print_plan(experiment, plan);
      }
      return kExitOk;
    };
  });
}

}  // namespace longattn

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

// What will come of a cell, before it runs; the reason stands beside it.
std::string_view status_of(const PlannedCell& cell) {
  if (!cell.unsupported.empty()) return to_string(Status::unsupported);
  if (!cell.skipped.empty()) return to_string(Status::skipped);
  return "runs";
}

const std::string& reason_of(const PlannedCell& cell) {
  return cell.unsupported.empty() ? cell.skipped : cell.unsupported;
}

// Over the cells that run, one forward pass of each.
struct Totals {
  Index runs = 0, unsupported = 0, skipped = 0;
  double flops = 0, scored_pairs = 0, largest_workspace_bytes = 0;
};

Totals totals_of(const std::vector<PlannedCell>& plan) {
  Totals totals;
  for (const PlannedCell& cell : plan) {
    if (!cell.unsupported.empty()) {
      ++totals.unsupported;
    } else if (!cell.skipped.empty()) {
      ++totals.skipped;
    } else {
      ++totals.runs;
      totals.flops += cell.cost->flops;
      totals.scored_pairs += cell.cost->scored_pairs;
      totals.largest_workspace_bytes =
          std::max(totals.largest_workspace_bytes, cell.cost->workspace_bytes);
    }
  }
  return totals;
}

std::string mebibytes(double bytes) { return fmt::format("{:.4g} MiB", bytes / 0x1p20); }

std::string settings(const Cell& cell) {
  std::string text = cell.remark.empty() ? cell.variant : cell.remark + " " + cell.variant;
  for (const auto& [name, value] : cell.options) text += fmt::format(" {}={}", name, value);
  return text;
}

void print_cell(const PlannedCell& planned) {
  const auto figure = [&](std::string text) { return planned.cost ? text : std::string("-"); };
  const Cost cost = planned.cost.value_or(Cost{});
  fmt::print("{:>9} {:>7} {:>10} {:>12} {:>12}  {:<11}  {}\n", planned.cell.problem.key_len,
             planned.cell.threads, figure(fmt::format("{:.4g}", cost.flops / 1e9)),
             figure(fmt::format("{:.4g}", cost.scored_pairs)),
             figure(mebibytes(cost.workspace_bytes)), status_of(planned), settings(planned.cell));
  if (!reason_of(planned).empty()) fmt::print("{:>9} {}\n", "", printable(reason_of(planned)));
}

void print_plan(const Experiment& experiment, const std::vector<PlannedCell>& plan) {
  const Totals totals = totals_of(plan);
  fmt::print("{}: {} cells ({} run, {} unsupported, {} skipped), {} timing rounds each\n",
             experiment.name, plan.size(), totals.runs, totals.unsupported, totals.skipped,
             experiment.measure.time ? experiment.measure.rounds : 0);
  std::string input;
  for (const PlannedCell& planned : plan) {
    if (planned.cell.input.label != input) {
      input = planned.cell.input.label;
      fmt::print("\n{}\n{:>9} {:>7} {:>10} {:>12} {:>12}  {:<11}  {}\n", printable(input), "tokens",
                 "threads", "GFLOP", "scored pairs", "workspace", "status", "variant");
    }
    print_cell(planned);
  }
  fmt::print(
      "\none pass over every cell that runs: {:.4g} GFLOP, {:.4g} scored pairs; largest "
      "workspace {}\n",
      totals.flops / 1e9, totals.scored_pairs, mebibytes(totals.largest_workspace_bytes));
}

json plan_json(const Experiment& experiment, const std::vector<PlannedCell>& plan) {
  json cells = json::array();
  for (const PlannedCell& planned : plan) {
    json entry = to_json(planned.cell);
    entry["status"] = status_of(planned);
    if (!reason_of(planned).empty()) entry["reason"] = reason_of(planned);
    if (planned.cost) {
      entry["flops"] = planned.cost->flops;
      entry["scored_pairs"] = planned.cost->scored_pairs;
      entry["bytes_moved"] = planned.cost->bytes_moved;
      entry["workspace_bytes"] = planned.cost->workspace_bytes;
    }
    cells.push_back(entry);
  }
  const Totals totals = totals_of(plan);
  return {{"experiment", experiment.name},
          {"rounds", experiment.measure.rounds},
          {"cells", cells},
          {"totals",
           {{"runs", totals.runs},
            {"unsupported", totals.unsupported},
            {"skipped", totals.skipped},
            {"flops", totals.flops},
            {"scored_pairs", totals.scored_pairs},
            {"largest_workspace_bytes", totals.largest_workspace_bytes}}}};
}

}  // namespace

void add_set_option(CLI::App& command, std::vector<std::string>& overrides) {
  command
      .add_option("--set", overrides,
                  "Puts a value into the config: problem.lengths=[512,1024], inputs.0.layer=1, "
                  "variants.2.longformer.window=64; nothing behind = takes the key away; may be "
                  "repeated")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
}

void add_plan(CLI::App& app, const Invocation& invocation, Action& chosen) {
  CLI::App* command = app.add_subcommand(
      "plan", "Show what a config file would measure, with predicted cost, and run nothing");
  struct Arguments {
    std::string config;
    std::vector<std::string> set;
    bool as_json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  command->add_option("config", arguments->config, "YAML file")->required();
  add_set_option(*command, arguments->set);
  command->add_flag("--json", arguments->as_json, "for programs");
  command->footer(
      "GFLOP counts 2 per multiply-add of the matrix products; scored pairs are (query, key) "
      "pairs\n"
      "that get a score, over all heads; workspace is the scratch memory of one forward pass. For\n"
      "patterns that depend on the content these are upper bounds.");
  command->callback([&, arguments] {
    chosen = [&, arguments]() -> int {
      const Experiment experiment =
          read_experiment(arguments->config, invocation.variants, arguments->set);
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

#include "experiments/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

#include "experiments/cli/commands.h"
#include "experiments/cluster_outlook.h"
#include "experiments/exit_codes.h"
#include "experiments/forecast.h"
#include "experiments/report/clusters.h"
#include "experiments/report/layout.h"
#include "experiments/report/text.h"
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

// All that is printed.
struct Outlook {
  const Experiment& experiment;
  const std::vector<PlannedCell>& plan;
  const Calibration& machine;
  const Forecast forecast;
  const std::vector<ClusterOutlook> clusters;
};

// Over the cells that run: one forward pass of each, and all measurements.
struct Totals {
  Index runs = 0, unsupported = 0, skipped = 0;
  double flops = 0, scored_pairs = 0, largest_bytes = 0;
  CellForecast seconds;
};

Totals totals_of(const Outlook& outlook) {
  Totals totals;
  for (size_t n = 0; n < outlook.plan.size(); ++n) {
    const PlannedCell& cell = outlook.plan[n];
    if (!cell.unsupported.empty()) {
      ++totals.unsupported;
    } else if (!cell.skipped.empty()) {
      ++totals.skipped;
    } else {
      ++totals.runs;
      totals.flops += cell.cost->flops;
      totals.scored_pairs += cell.cost->scored_pairs;
      totals.largest_bytes = std::max(totals.largest_bytes, cell.needed_bytes());
      totals.seconds.error += outlook.forecast.cells[n]->error;
      totals.seconds.memory += outlook.forecast.cells[n]->memory;
      totals.seconds.time += outlook.forecast.cells[n]->time;
    }
  }
  return totals;
}

// As people say it.
std::string long_time(double seconds) {
  if (seconds < 120) return duration(seconds);
  if (seconds < 7200) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

// As the report will call them: by the options in which cells of a variant differ.
std::vector<std::string> labels_of(const std::vector<PlannedCell>& plan) {
  ShortLabels all;
  for (const PlannedCell& planned : plan) all.add(planned.cell);
  std::vector<std::string> labels;
  for (const PlannedCell& planned : plan) labels.push_back(all.of(planned.cell));
  return labels;
}

constexpr auto kRow = "{:>9} {:>10} {:>12} {:>9} {:>10} {:>10} {:>9}  {:<11}  {}\n";

void print_cell(const PlannedCell& planned, const std::optional<CellForecast>& seconds,
                const Limits& limits, const std::string& label) {
  const auto figure = [&](std::string text) { return planned.cost ? text : std::string("-"); };
  const Cost cost = planned.cost.value_or(Cost{});
  fmt::print(kRow, grouped(planned.cell.problem.key_len), figure(three_digits(cost.flops / 1e9)),
             figure(three_digits(cost.scored_pairs)),
             seconds ? duration(seconds->pass) : std::string("-"),
             figure(bytes(cost.workspace_bytes)), figure(bytes(planned.tensors_bytes)),
             seconds ? long_time(seconds->total()) : std::string("-"), status_of(planned),
             one_line(label));
  if (!planned.figures.empty()) fmt::print("{:>9} {}\n", "", figures_text(planned.figures));
  if (!reason_of(planned).empty()) fmt::print("{:>9} {}\n", "", one_line(reason_of(planned)));
  if (seconds && seconds->over_limit) {
    fmt::print("{:>9} one measurement would take longer than limits.time, {}\n", "",
               long_time(limits.time_s));
  }
}

void print_machine(const Calibration& machine) {
  for (const auto& [threads, flops, bandwidth] : machine.ceilings) {
    fmt::print("this machine, {} thread{}: {} GFLOP/s of multiply-adds, {} GB/s read from memory\n",
               threads, threads == 1 ? "" : "s", three_digits(flops / 1e9),
               three_digits(bandwidth / 1e9));
  }
  fmt::print("a process starts in {} (all measured just now, in {})\n", duration(machine.start_s),
             duration(machine.took_s));
}

// Cells that are skipped, or all others, or both.
void print_cells(const Outlook& outlook, bool skipped, bool others) {
  const auto& [experiment, plan, machine, forecast, clusters] = outlook;
  const std::vector<std::string> labels = labels_of(plan);
  std::string block;
  for (size_t n = 0; n < plan.size(); ++n) {
    if (!(plan[n].skipped.empty() ? others : skipped)) continue;
    const Cell& cell = plan[n].cell;
    const std::string title = one_line(cell.input.label) + ": " + problem_text(cell);
    if (title != block) {
      fmt::print("\n{}\n", title);
      fmt::print(kRow, "length", "GFLOP", "scored pairs", "pass", "workspace", "tensors", "in all",
                 "status", "variant");
      block = title;
    }
    print_cell(plan[n], forecast.cells[n], experiment.limits, labels[n]);
  }
}

void print_plan(const Outlook& outlook) {
  const auto& [experiment, plan, machine, forecast, clusters] = outlook;
  const Totals totals = totals_of(outlook);
  fmt::print("{}: {} cells ({} run, {} unsupported, {} skipped), {} timing rounds each\n",
             experiment.name, plan.size(), totals.runs, totals.unsupported, totals.skipped,
             experiment.measure.time ? experiment.measure.rounds : 0);
  print_machine(machine);
  print_cells(outlook, clusters.empty(), true);
  fmt::print(
      "\none pass over every cell that runs: {} GFLOP, {} scored pairs; most memory {} of {}\n",
      three_digits(totals.flops / 1e9), three_digits(totals.scored_pairs),
      bytes(totals.largest_bytes), bytes(experiment.limits.memory_bytes));
  std::string parts;
  for (const auto& [what, seconds] : {std::pair("timing", totals.seconds.time),
                                      {"judging", totals.seconds.error},
                                      {"memory", totals.seconds.memory},
                                      {"making inputs", forecast.inputs_s}}) {
    if (seconds > 0)
      parts += fmt::format("{}{} {}", parts.empty() ? ": " : ", ", what, long_time(seconds));
  }
  fmt::print("about {} in all{}\n", long_time(forecast.total_s), parts);
  if (clusters.empty()) return;
  fmt::print("\n{}", clusters_text(clusters));
  // What clusters are asked about is mostly too large for this machine.
  if (totals.skipped > 0) fmt::print("\nskipped on this machine:\n");
  print_cells(outlook, true, false);
}

json machine_json(const Calibration& machine) {
  json ceilings = json::array();
  for (const auto& [threads, flops, bandwidth] : machine.ceilings) {
    ceilings.push_back({{"threads", threads}, {"flops_per_s", flops}, {"bytes_per_s", bandwidth}});
  }
  return {{"ceilings", ceilings},
          {"judged_per_s", machine.judged_per_s},
          {"drawn_per_s", machine.drawn_per_s},
          {"process_start_s", machine.start_s},
          {"calibration_s", machine.took_s}};
}

json cell_json(const PlannedCell& planned, const std::optional<CellForecast>& seconds) {
  json entry = to_json(planned.cell);
  entry["status"] = status_of(planned);
  if (!reason_of(planned).empty()) entry["reason"] = reason_of(planned);
  if (planned.cost) {
    entry["flops"] = planned.cost->flops;
    entry["scored_pairs"] = planned.cost->scored_pairs;
    entry["bytes_moved"] = planned.cost->bytes_moved;
    entry["workspace_bytes"] = planned.cost->workspace_bytes;
    entry["held_bytes"] = planned.cost->held_bytes;
    entry["tensors_bytes"] = planned.tensors_bytes;
    for (const PlanFigure& figure : planned.figures) entry["figures"][figure.name] = figure.values;
    entry["growth"] = {{"time", planned.growth.time}, {"memory", planned.growth.memory}};
  }
  if (seconds) {
    entry["predicted_s"] = {{"pass", seconds->pass},     {"error", seconds->error},
                            {"memory", seconds->memory}, {"time", seconds->time},
                            {"total", seconds->total()}, {"over_limit", seconds->over_limit}};
  }
  return entry;
}

json plan_json(const Outlook& outlook) {
  const auto& [experiment, plan, machine, forecast, clusters] = outlook;
  json cells = json::array();
  for (size_t n = 0; n < plan.size(); ++n) {
    cells.push_back(cell_json(plan[n], forecast.cells[n]));
  }
  const Totals totals = totals_of(outlook);
  return {{"experiment", experiment.name},
          {"config", experiment.path},
          {"rounds", experiment.measure.rounds},
          {"min_time_s", experiment.measure.min_time_s},
          {"limits",
           {{"time_s", experiment.limits.time_s},
            {"memory_bytes", experiment.limits.memory_bytes},
            {"max_cells", experiment.limits.max_cells}}},
          {"machine", machine_json(machine)},
          {"cells", cells},
          {"clusters", clusters_json(clusters)},
          {"totals",
           {{"runs", totals.runs},
            {"unsupported", totals.unsupported},
            {"skipped", totals.skipped},
            {"flops", totals.flops},
            {"scored_pairs", totals.scored_pairs},
            {"largest_bytes", totals.largest_bytes},
            {"predicted_s",
             {{"time", totals.seconds.time},
              {"error", totals.seconds.error},
              {"memory", totals.seconds.memory},
              {"inputs", forecast.inputs_s},
              {"total", forecast.total_s}}}}}};
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
    std::string plot;
  };
  auto arguments = std::make_shared<Arguments>();
  command->add_option("config", arguments->config, "YAML file")->required();
  add_set_option(*command, arguments->set);
  command->add_flag("--json", arguments->as_json, "for programs");
  command
      ->add_option("--plot", arguments->plot,
                   "draw time against ranks of the rings on `clusters`, into a .svg or .pdf")
      ->type_name("FILE");
  command->footer(
      "GFLOP counts 2 per multiply-add of the matrix products; scored pairs are (query, key) "
      "pairs\n"
      "that get a score, over all heads; workspace is the scratch memory of one forward pass, and\n"
      "tensors its inputs and output. For patterns that depend on the content these are upper\n"
      "bounds. `pass` is one forward pass at the machine's ceilings, of float32 arithmetic or of\n"
      "memory traffic, whichever is slower, and what a variant calculates in double precision at\n"
      "the speed of definitions; `in all` adds judging, the memory pass and the rounds,\n"
      "with the start of a process for each. Most passes take somewhat longer; bfloat16 products,\n"
      "where the processor has them, and inputs that stay in its caches make some faster.\n\n"
      "Of `clusters` in the config: efficiency is the share of time in which ranks compute; "
      "exposed\n"
      "what a network without cost would save; overlap the share of the shorter of computing and\n"
      "exchanging that the longer hides; knee the ranks beyond which an evenly shared ring is\n"
      "exposed; extrap. the ranks over the most that were measured; P(fail) that a host fails\n"
      "meanwhile. variants/ring/ring_model.h has the formulas.");
  command->callback([&, arguments] {
    chosen = [&, arguments]() -> int {
      const double start_s = process_seconds();
      if (!arguments->plot.empty()) require_plot_name(arguments->plot);
      const Experiment experiment =
          read_experiment(arguments->config, invocation.variants, arguments->set);
      const std::vector<PlannedCell> plan = make_plan(experiment);
      const Calibration machine = calibrate(experiment.threads, start_s);
      const Outlook outlook{experiment, plan, machine, forecast(experiment, plan, machine),
                            cluster_outlooks(experiment)};
      if (arguments->as_json) {
        fmt::print("{}\n", plan_json(outlook).dump(2));
      } else {
        print_plan(outlook);
      }
      if (!arguments->plot.empty()) draw_clusters(outlook.clusters, arguments->plot);
      return kExitOk;
    };
  });
}

}  // namespace longattn

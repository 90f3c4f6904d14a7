#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "core/io/file.h"
#include "experiments/cli/commands.h"
#include "experiments/cli/run_common.h"
#include "experiments/exit_codes.h"
#include "experiments/judge/statistics.h"
#include "experiments/progress.h"
#include "experiments/rehearsal.h"
#include "experiments/report/rehearsal.h"
#include "experiments/run_folder.h"

namespace longattn {
namespace {

struct RehearseArguments {
  std::string config, output;
  std::vector<std::string> set;
  int passes = 5;
};

// In the config's own terms, so that `plan` can take it.
std::string yaml_of(const ClusterRequest& cluster) {
  const Cluster& c = cluster.cluster;
  std::string text = fmt::format(
      "clusters:\n"
      "  - label: {}\n"
      "    ranks: [{}]\n"
      "    measured_ranks: {}\n"
      "    rate: {:.3g}\n",
      cluster.name, cluster.ranks.front(), cluster.measured_ranks.value_or(0), c.rate);
  if (c.overhead > 0) text += fmt::format("    overhead: {:.3g}us\n", 1e6 * c.overhead);
  return text + fmt::format(
                    "    latency: {:.3g}us\n"
                    "    bandwidth: {:.3g}GB\n"
                    "    contention: {:.3g}\n",
                    1e6 * c.network.latency, c.network.bandwidth / 1e9, c.contention);
}

std::string summary_of(const std::vector<Rehearsal>& all) {
  std::vector<double> ratios;
  for (const Rehearsal& one : all) {
    if (!one.seconds.empty()) ratios.push_back(median(one.seconds) / one.outlook.forecast.total);
  }
  if (ratios.empty()) return fmt::format("\nnone of {} was run to its end\n", all.size());
  return fmt::format(
      "\n{} of {} run; measured over predicted: median {:.3f}, from {:.3f} to {:.3f}\n",
      ratios.size(), all.size(), median(ratios), std::ranges::min(ratios),
      std::ranges::max(ratios));
}

int rehearse_all(const RehearseArguments& arguments, const Invocation& invocation) {
  const Experiment experiment =
      read_experiment(arguments.config, invocation.variants, arguments.set);
  std::optional<ClusterRequest> calibrated;
  if (const Problem* over_mpi = first_over_mpi(experiment)) {
    calibrated = calibrated_cluster(experiment, *over_mpi);
    fmt::print("two ranks of this machine (`{}`), just now:\n\n{}\n", experiment.launcher,
               yaml_of(*calibrated));
  }
  std::vector<Rehearsal> all = rehearsals(experiment, calibrated ? &*calibrated : nullptr);
  if (all.empty()) {
    throw OptionError(fmt::format(
        "{}: nothing to rehearse, expected a ring with transport mpi, or one with transport thread "
        "and a list of clusters",
        experiment.path));
  }
  const RunFolder folder =
      arguments.output.empty()
          ? RunFolder::create_named_after_time("results/" + experiment.name + "-rehearsal")
          : RunFolder::create(arguments.output);
  write_text(folder.file("predictions.csv"), to_csv(rehearsal_table(all, false)));
  fmt::print("predictions are written to {}; now they are held against {} pass{} each\n\n",
             folder.file("predictions.csv"), arguments.passes, arguments.passes == 1 ? "" : "es");
  std::fflush(stdout);
  Progress progress(static_cast<Index>(all.size()));
  for (Rehearsal& one : all) {
    progress.begin(fmt::format("{} tokens, {} ranks, {}", one.problem->problem.key_len,
                               one.outlook.ranks, one.outlook.cluster->name));
    rehearse(one, experiment, arguments.passes);
    progress.done();
    write_text(folder.file("rehearsal.csv"), to_csv(rehearsal_table(all, true)));
  }
  progress.finish();
  fmt::print("{}{}figures: {}\n", rehearsal_text(all), summary_of(all),
             folder.file("rehearsal.csv"));
  const bool failed = std::ranges::any_of(
      all, [](const Rehearsal& one) { return !one.failure.empty() || one.late_steps > 0; });
  return failed ? kExitFailedCells : kExitOk;
}

}  // namespace

void add_rehearse(CLI::App& app, const Invocation& invocation, Action& chosen) {
  CLI::App* command = app.add_subcommand(
      "rehearse", "Hold the model of rings against rings that are run on this machine");
  auto arguments = std::make_shared<RehearseArguments>();
  command->add_option("config", arguments->config, "YAML file, such as configs/ring-rehearsal.yaml")
      ->required();
  command->add_option(
      "--output", arguments->output,
      "new folder for the figures (default: results/<experiment>-rehearsal/<time>)");
  command->add_option("--passes", arguments->passes, "timed passes of each")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  add_set_option(*command, arguments->set);
  command->footer(
      "Of a ring with `transport: thread` every one of `clusters` is acted out: ranks are "
      "threads,\n"
      "their messages take what the links would, and a step, computed for real, takes what `rate`\n"
      "says; so there may be more ranks than cores, if the rate is far below theirs. Of one with\n"
      "`transport: mpi` ranks are processes of this machine at their own speed, predicted from "
      "two\n"
      "ranks that are measured first, on other problems; what they found is printed as an entry "
      "of\n"
      "`clusters`, for `longattn plan`.\n\n"
      "Predictions are written before anything is run. Times are those of the slowest rank, "
      "without\n"
      "copying a shard in and out. Exit code 1: something could not be run, or computed too "
      "slowly.");
  command->callback([&, arguments] {
    chosen = [&, arguments]() -> int { return rehearse_all(*arguments, invocation); };
  });
}

}  // namespace longattn

#include "experiments/judge/compare.h"

#include <fmt/format.h>

#include <memory>

#include "core/error.h"
#include "core/io/text.h"
#include "experiments/ab_run.h"
#include "experiments/cli/commands.h"
#include "experiments/cli/run_common.h"
#include "experiments/exit_codes.h"
#include "experiments/report/comparison.h"

namespace longattn {
namespace {

struct CompareArguments {
  std::string first, second, config;  // the last of --ab alone, which compares programs
  bool ab = false;
  AbOrders orders;
  CompareSettings settings;
  bool json = false;
};

AbResults results_of(const CompareArguments& arguments) {
  AbOrders orders = arguments.orders;
  if (!arguments.ab) {
    if (!arguments.config.empty() || !orders.overrides.empty()) {
      throw OptionError("compare: a config and --set are for --ab; folders are measured already");
    }
    return {read_results(arguments.first), read_results(arguments.second)};
  }
  if (arguments.config.empty()) {
    throw OptionError("compare --ab: expected two programs and a config file");
  }
  orders.programs = {arguments.first, arguments.second};
  orders.config = arguments.config;
  return run_ab(orders);
}

int compare(const CompareArguments& arguments) {
  const auto [before, after] = results_of(arguments);
  const Comparison comparison = compare_runs(before, after, arguments.settings);
  if (comparison.cells.empty()) {
    throw OptionError(fmt::format(
        "no cell occurs in both runs ({} and {} cells); the same cell has the same variant, "
        "options, problem, input, seed and threads",
        before.cells.size(), after.cells.size()));
  }
  fmt::print("{}", arguments.json ? comparison_json(comparison, arguments.settings)
                                  : comparison_text(comparison, arguments.settings));
  return comparison.regressed() ? kExitRegression : kExitOk;
}

}  // namespace

void add_compare(CLI::App& app, const Invocation&, Action& chosen) {
  CLI::App* command = app.add_subcommand(
      "compare", "Hold a run against an earlier one: faster, slower, equivalent or no evidence");
  auto arguments = std::make_shared<CompareArguments>();
  command
      ->add_option("first", arguments->first,
                   "folder of the run to compare with; with --ab a longattn program")
      ->required();
  command
      ->add_option("second", arguments->second,
                   "folder of the run that is judged; with --ab another program")
      ->required();
  command->add_option("config", arguments->config, "with --ab: the experiment to measure");
  CLI::Option* ab =
      command->add_flag("--ab", arguments->ab,
                        "measure two builds in turn, round by round: compare --ab OLD NEW CONFIG");
  command->add_option("--rounds", arguments->orders.rounds, "of each program (default 9)")
      ->check(CLI::Range(Index{1}, Index{1000}))
      ->needs(ab);
  command
      ->add_option("--output", arguments->orders.folder,
                   "new folder for what they measure (default: results/ab/<time>)")
      ->needs(ab);
  add_set_option(*command, arguments->orders.overrides);
  command
      ->add_option("--alpha", arguments->settings.alpha,
                   "chance of any false alarm among all cells (default 0.05)")
      ->check(CLI::Range(1e-6, 0.5));
  command
      ->add_option("--min-effect", arguments->settings.min_effect,
                   "change of time that is of interest (default 0.05: 5 %)")
      ->check(CLI::Range(0.0, 10.0));
  command->add_flag("--json", arguments->json, "print the comparison as JSON instead of a table");
  command->footer(
      "Cells match by variant, options, problem, input, seed and threads. Times are judged on the\n"
      "medians of rounds; errors, workspace and status, which do not vary, are compared exactly.\n"
      "Two runs one after the other differ by what happened to the machine in between; for close\n"
      "calls --ab measures both builds in turn and judges by the same tests. A program is any "
      "build\n"
      "of longattn, or a tool made of it; both must know the variants of the config.\n"
      "Exit code 0: no regression; 3: a cell is slower, larger, more wrong or no longer ok.");
  command->callback([&chosen, arguments] { chosen = [arguments] { return compare(*arguments); }; });
}

}  // namespace longattn

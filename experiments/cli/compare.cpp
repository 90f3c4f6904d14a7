#include "experiments/judge/compare.h"

#include <fmt/format.h>

#include <memory>

#include "core/error.h"
#include "experiments/cli/commands.h"
#include "experiments/exit_codes.h"
#include "experiments/report/comparison.h"
#include "experiments/results.h"

namespace longattn {
namespace {

struct CompareArguments {
  std::string before, after;
  CompareSettings settings;
  bool json = false;
};

int compare(const CompareArguments& arguments) {
  const RunResults before = results_from_folder(arguments.before);
  const RunResults after = results_from_folder(arguments.after);
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
  command->add_option("first", arguments->before, "folder of the run to compare with")->required();
  command->add_option("second", arguments->after, "folder of the run that is judged")->required();
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
      "Exit code 0: no regression; 3: a cell is slower, larger, more wrong or no longer ok.");
  command->callback([&chosen, arguments] { chosen = [arguments] { return compare(*arguments); }; });
}

}  // namespace longattn

#include "experiments/run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <memory>

#include "core/error.h"
#include "core/io/text.h"
#include "experiments/cli/commands.h"
#include "experiments/cli/run_common.h"
#include "experiments/exit_codes.h"
#include "experiments/progress.h"

namespace longattn {
namespace {

std::atomic<int> stop_signal{0};

// The first signal ends the run in order; the second one ends the process.
void on_signal(int signal) {
  if (stop_signal.exchange(signal) != 0) _exit(128 + signal);
}

void catch_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

struct RunArguments {
  std::string config, output, resume, shard = "1/1";
  std::vector<std::string> cells, set;
  Index rounds = 0, max_failures = 0;
  bool json = false, no_report = false, fail_fast = false;
};

// As typed, but for where results go and which cells are chosen: it can be typed again.
std::vector<std::string> repeatable(const std::vector<std::string>& arguments) {
  std::vector<std::string> kept;
  for (size_t n = 0; n < arguments.size(); ++n) {
    const std::string& argument = arguments[n];
    const std::string name = argument.substr(0, argument.find('='));
    if (name == "--output" || name == "--cell" || name == "--shard") {
      if (name == argument) ++n;
    } else {
      kept.push_back(argument);
    }
  }
  return kept;
}

// Only the cells asked for; all when none is.
void keep_cells(const std::vector<std::string>& ids, std::vector<PlannedCell>& plan) {
  for (const std::string& id : ids) {
    const bool known = std::ranges::any_of(
        plan, [&](const PlannedCell& planned) { return planned.cell.id == id; });
    if (!known) {
      throw OptionError(fmt::format(
          "--cell {}: the plan has no such cell; expected an id of `longattn plan --json`",
          printable(id)));
    }
  }
  if (ids.empty()) return;
  std::erase_if(plan, [&](const PlannedCell& planned) {
    return std::ranges::find(ids, planned.cell.id) == ids.end();
  });
}

RunOutcome measure(const RunArguments& arguments, const Invocation& invocation) {
  const Index max_failures = arguments.fail_fast ? 1 : arguments.max_failures;
  if (!arguments.resume.empty()) {
    catch_signals();
    const auto config = arguments.config.empty() ? std::nullopt : std::optional(arguments.config);
    return resume_run(arguments.resume, config, invocation.variants, max_failures, stop_signal);
  }
  if (arguments.config.empty()) throw Error("run: expected a config file, or --resume FOLDER");
  const RunShard shard = shard_from_string(arguments.shard);
  Experiment experiment = read_experiment(arguments.config, invocation.variants, arguments.set);
  if (arguments.rounds > 0) experiment.measure.rounds = arguments.rounds;
  std::vector<PlannedCell> plan = make_plan(experiment);
  keep_cells(arguments.cells, plan);
  catch_signals();
  return run_experiment(experiment, plan,
                        {arguments.output, command_text(repeatable(invocation.arguments)),
                         arguments.set, shard, max_failures},
                        stop_signal);
}

void say_how_it_ended(const RunOutcome& outcome, const std::string& program) {
  if (outcome.disturbed_rounds > 0) {
    say(fmt::format(
        "{} timing rounds were disturbed: their threads had to wait for a processor; see "
        "{} doctor\n",
        outcome.disturbed_rounds, program));
  }
  say(fmt::format("{}\n", outcome.time_spent));
  if (stop_signal == 0 && !outcome.failed_too_often) return;
  say(fmt::format("{} after {} of {} measurements; go on with: {}\n",
                  stop_signal != 0 ? "interrupted" : "ended by a failure", outcome.measured,
                  outcome.planned,
                  command_text({program, "run", "--resume", outcome.results.folder})));
}

int run(const RunArguments& arguments, const Invocation& invocation) {
  const RunOutcome outcome = measure(arguments, invocation);
  const std::string& program = invocation.arguments.front();
  // Told first: a report of many plots takes a moment, and whoever interrupts may not wait for it.
  say_how_it_ended(outcome, program);
  try {
    present(outcome.results, {!arguments.no_report, arguments.json});
  } catch (const IoError& error) {
    if (stop_signal == 0) throw;  // else: perhaps the terminal is gone
    say(fmt::format("longattn: error: {}\n", error.what()));
  }
  return stop_signal != 0 ? 128 + stop_signal : exit_code_of(outcome.results);
}

}  // namespace

void add_run(CLI::App& app, const Invocation& invocation, Action& chosen) {
  CLI::App* command = app.add_subcommand(
      "run", "Measure an experiment: time, memory and error of every variant in a config file");
  auto arguments = std::make_shared<RunArguments>();
  command->add_option("config", arguments->config, "YAML file; see configs/ for examples");
  CLI::Option* output =
      command->add_option("--output", arguments->output,
                          "new folder for the results (default: results/<experiment>/<time>)");
  add_set_option(*command, arguments->set);
  CLI::Option* cell = command
                          ->add_option("--cell", arguments->cells,
                                       "measure this cell only (may be repeated); results.csv has "
                                       "the ids")
                          ->allow_extra_args(false);
  CLI::Option* rounds =
      command->add_option("--rounds", arguments->rounds, "timing rounds, instead of measure.rounds")
          ->check(CLI::Range(Index{1}, Index{1000}));
  CLI::Option* shard = command->add_option(
      "--shard", arguments->shard,
      "i/n: measure only the i-th of n parts; `longattn merge` puts them together");
  command
      ->add_option("--resume", arguments->resume,
                   "go on with the run in this folder: what was measured stays")
      ->excludes(output)
      ->excludes(rounds)
      ->excludes(shard)
      ->excludes(cell)
      ->excludes("--set");
  CLI::Option* fail_fast =
      command->add_flag("--fail-fast", arguments->fail_fast, "end at the first cell that fails");
  command
      ->add_option("--max-failures", arguments->max_failures,
                   "end when so many cells have failed (default: never)")
      ->check(CLI::Range(Index{1}, Index{1000000}))
      ->excludes(fail_fast);
  command->add_flag("--no-report", arguments->no_report,
                    "leave out results.csv, plots and report.html; `longattn report` makes them");
  command->add_flag("--json", arguments->json, "print the results as JSON instead of a table");
  command->footer(
      "Each measurement runs in a process of its own, within limits.time and limits.memory; a\n"
      "variant that crashes, hangs or runs out of memory becomes a row and the run goes on.\n"
      "Ctrl-C ends the run in order, with a report of what there is; a second one ends it at "
      "once.\n"
      "--resume refuses another build or machine, a changed config or trace.\n"
      "The table goes to standard output, progress to standard error.\n"
      "What is found of a variant, also what the table marks with !, is a result and no failure.\n"
      "Exit code 0: every cell is ok, skipped or unsupported; 1: some cell failed;\n"
      "74: a file could not be written, or the plots could not be drawn (the rest is there);\n"
      "75: another run writes to the folder; 130, 143, 129: ended by ctrl-C, SIGTERM, SIGHUP.");
  command->callback(
      [&, arguments] { chosen = [&, arguments] { return run(*arguments, invocation); }; });
}

}  // namespace longattn

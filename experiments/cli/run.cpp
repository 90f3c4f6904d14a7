#include "experiments/run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <csignal>
#include <exception>
#include <filesystem>
#include <memory>
#include <string_view>

#include "core/error.h"
#include "core/io/file.h"
#include "core/io/text.h"
#include "experiments/cli/commands.h"
#include "experiments/exit_codes.h"
#include "experiments/report/report.h"
#include "experiments/serialize.h"

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

int exit_code(const RunResults& results) {
  if (stop_signal != 0) return 128 + stop_signal;
  const bool failed = std::ranges::any_of(results.cells, [](const CellResult& result) {
    return result.status != Status::ok && result.status != Status::skipped &&
           result.status != Status::unsupported;
  });
  return failed ? kExitFailedCells : kExitOk;
}

struct RunArguments {
  std::string config, output;
  std::vector<std::string> cells, set;
  Index rounds = 0;
  bool json = false;
};

// As a shell reads it back.
std::string quoted(const std::string& argument) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-+=./:,@%").find(c) != std::string_view::npos;
  };
  if (!argument.empty() && std::ranges::all_of(argument, plain)) return argument;
  std::string text = "'";
  for (char c : argument) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

// As typed, but for the output folder and the choice of cells: it can be typed again.
std::string command_line(const std::vector<std::string>& arguments) {
  std::vector<std::string> parts;
  for (size_t n = 0; n < arguments.size(); ++n) {
    const std::string& argument = arguments[n];
    if (argument.starts_with("--output=") || argument.starts_with("--cell=")) continue;
    if (argument == "--output" || argument == "--cell") {
      ++n;
      continue;
    }
    parts.push_back(quoted(argument));
  }
  return fmt::format("{}", fmt::join(parts, " "));
}

void print_json(const RunResults& results) {
  nlohmann::json cells = nlohmann::json::array();
  for (const CellResult& result : results.cells) {
    nlohmann::json cell = measurements_to_json(result);
    cell["cell"] = to_json(result.cell);
    cells.push_back(std::move(cell));
  }
  const nlohmann::json all = {{"experiment", results.experiment},
                              {"folder", results.folder},
                              {"command", results.command},
                              {"cells", cells}};
  fmt::print("{}\n", all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
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

int run(const RunArguments& arguments, const Invocation& invocation) {
  Experiment experiment = read_experiment(arguments.config, invocation.variants, arguments.set);
  if (arguments.rounds > 0) experiment.measure.rounds = arguments.rounds;
  std::vector<PlannedCell> plan = make_plan(experiment);
  keep_cells(arguments.cells, plan);
  catch_signals();
  const RunResults results = run_experiment(
      experiment, plan, {arguments.output, command_line(invocation.arguments)}, stop_signal);
  std::exception_ptr failure;  // of the report: what was measured is printed all the same
  try {
    write_report(results, results.folder);
  } catch (const IoError&) {
    failure = std::current_exception();
  }
  std::signal(SIGPIPE, SIG_DFL);  // `| head` ends the printing without a word
  if (arguments.json) {
    print_json(results);
  } else {
    print_table(results, stdout);
  }
  if (stop_signal != 0) fmt::print(stderr, "interrupted: the report holds what was measured\n");
  for (const auto& [name, file] :
       {std::pair("report: ", "report.html"), {"table:  ", "results.csv"}}) {
    const std::filesystem::path path = std::filesystem::path(results.folder) / file;
    if (std::filesystem::exists(path)) fmt::print(stderr, "{} {}\n", name, path.string());
  }
  if (failure) std::rethrow_exception(failure);
  return exit_code(results);
}

}  // namespace

void add_run(CLI::App& app, const Invocation& invocation, Action& chosen) {
  CLI::App* command = app.add_subcommand(
      "run", "Measure an experiment: time, memory and error of every variant in a config file");
  auto arguments = std::make_shared<RunArguments>();
  command->add_option("config", arguments->config, "YAML file; see configs/ for examples")
      ->required();
  command->add_option("--output", arguments->output,
                      "new folder for the results (default: results/<experiment>/<time>-<id>)");
  add_set_option(*command, arguments->set);
  command->add_option("--rounds", arguments->rounds, "timing rounds, instead of measure.rounds")
      ->check(CLI::Range(Index{1}, Index{1000}));
  command
      ->add_option("--cell", arguments->cells,
                   "measure this cell only (may be repeated); results.csv has the ids")
      ->allow_extra_args(false);
  command->add_flag("--json", arguments->json, "print the results as JSON instead of a table");
  command->footer(
      "Each measurement runs in a process of its own, within limits.time and limits.memory; a\n"
      "variant that crashes, hangs or runs out of memory becomes a row and the run goes on.\n"
      "The table goes to standard output, progress to standard error.\n"
      "Exit code 0: every cell is ok, skipped or unsupported; 1: some cell failed;\n"
      "74: a file could not be written, or the plots could not be drawn (the rest is there).");
  command->callback(
      [&, arguments] { chosen = [&, arguments] { return run(*arguments, invocation); }; });
}

}  // namespace longattn

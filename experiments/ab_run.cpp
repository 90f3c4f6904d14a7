#include "experiments/ab_run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "core/error.h"
#include "core/io/file.h"
#include "core/io/text.h"
#include "experiments/exit_codes.h"
#include "experiments/judge/statistics.h"
#include "experiments/progress.h"
#include "experiments/results.h"
#include "experiments/run_folder.h"

extern char** environ;

namespace longattn {
namespace {

namespace fs = std::filesystem;

constexpr std::array kSides = {"first", "second"};

// The exit status of a program that writes to `log`; it stays in this process group, so that ctrl-C
// ends it too.
int call(std::vector<std::string> arguments, const std::string& log) {
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t child = -1;
  const int error =
      posix_spawnp(&child, pointers.front(), &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    throw Error(
        fmt::format("{}: cannot start: {}", printable(arguments.front()), std::strerror(error)));
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) throw Error(fmt::format("{}: lost", printable(arguments.front())));
  }
  return status;
}

// The last lines that a program said, safe for a terminal.
std::string last_words(const std::string& log) {
  constexpr Index kShown = 2000;
  const InputFile file(log);
  std::string text(static_cast<size_t>(std::min(kShown, file.size())), '\0');
  file.read(file.size() - std::ssize(text), std::as_writable_bytes(std::span(text)));
  std::istringstream lines(text);
  std::string shown;
  for (std::string line; std::getline(lines, line);) shown += printable(line) + "\n";
  return shown;
}

std::string folder_of(const std::string& folder, size_t side, Index round) {
  return fmt::format("{}/{}/round-{}", folder, kSides[side], round);
}

void run_round(const AbOrders& orders, const std::string& folder, size_t side, Index round) {
  const std::string& program = orders.programs[side];
  const std::string output = folder_of(folder, side, round), log = output + ".log";
  say(fmt::format("round {} of {}: {} ({})\n", round, orders.rounds, kSides[side],
                  printable(program)));
  std::vector<std::string> arguments = {program, "run",      orders.config, "--output",
                                        output,  "--rounds", "1",           "--no-report"};
  for (const std::string& value : orders.overrides) {
    arguments.insert(arguments.end(), {"--set", value});
  }
  for (const char* known : {"error", "memory", "patterns"}) {  // from the first round
    if (round == 1) break;
    arguments.insert(arguments.end(), {"--set", fmt::format("measure.{}=false", known)});
  }
  const int status = call(arguments, log);
  // A cell that fails is a result.
  const bool complete = WIFEXITED(status) &&
                        (WEXITSTATUS(status) == kExitOk || WEXITSTATUS(status) == kExitFailedCells);
  if (complete) return;
  const std::string how = WIFEXITED(status) ? fmt::format("exit code {}", WEXITSTATUS(status))
                                            : fmt::format("signal {}", WTERMSIG(status));
  throw Error(fmt::format("{} did not complete round {} of {}: {}; it said:\n{}",
                          printable(program), round, printable(orders.config), how,
                          last_words(log)));
}

// Adds what a further round has measured.
void add_round(const RunResults& round, RunResults& all) {
  for (CellResult& result : all.cells) {
    const auto found = std::ranges::find(round.cells, result.cell.id,
                                         [](const CellResult& r) { return r.cell.id; });
    if (found == round.cells.end()) continue;
    result.round_seconds.insert(result.round_seconds.end(), found->round_seconds.begin(),
                                found->round_seconds.end());
    result.disturbed_rounds += found->disturbed_rounds;
    if (result.status == Status::ok && found->status != Status::ok) {
      result.status = found->status;
      result.reason = found->reason;
    }
  }
}

RunResults gather(const AbOrders& orders, const std::string& folder, size_t side) {
  RunResults all = results_from_folder(folder_of(folder, side, 1));
  for (Index round = 2; round <= orders.rounds; ++round) {
    add_round(results_from_folder(folder_of(folder, side, round)), all);
  }
  for (CellResult& result : all.cells) {
    result.time_s.reset();
    if (!result.round_seconds.empty()) result.time_s = median_interval(result.round_seconds);
  }
  return all;
}

}  // namespace

AbResults run_ab(const AbOrders& orders) {
  const RunFolder folder = orders.folder.empty() ? RunFolder::create_named_after_time("results/ab")
                                                 : RunFolder::create(orders.folder);
  for (const char* side : kSides) {
    std::error_code error;
    fs::create_directory(folder.file(side), error);
    if (error) {
      throw CreateError(fmt::format("{}: cannot create: {}", folder.file(side), error.message()));
    }
  }
  for (Index round = 1; round <= orders.rounds; ++round) {
    const size_t begins = round % 2 == 1 ? 0 : 1;
    run_round(orders, folder.path(), begins, round);
    run_round(orders, folder.path(), 1 - begins, round);
  }
  say(fmt::format("measured: {}\n", printable(folder.path())));
  return {gather(orders, folder.path(), 0), gather(orders, folder.path(), 1)};
}

}  // namespace longattn

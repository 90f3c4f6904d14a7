#include "experiments/measure/worker.h"

#include "experiments/cli/commands.h"
#include "experiments/measure/rank_worker.h"

namespace longattn {

void add_worker(CLI::App& app, const Invocation& invocation, Action& chosen) {
  CLI::App* command = app.add_subcommand("__worker", "one measurement, started by `run`");
  command->group("");  // not listed in the help
  command->callback([&] { chosen = [&] { return serve_worker(invocation.variants); }; });
  command = app.add_subcommand("__rank", "one rank of a measurement, started by a launcher");
  command->group("");
  command->callback([&] { chosen = [&] { return serve_rank(invocation.variants); }; });
}

}  // namespace longattn

#include "experiments/merge.h"

#include <fmt/format.h>

#include <memory>

#include "core/error.h"
#include "experiments/cli/commands.h"
#include "experiments/cli/run_common.h"
#include "experiments/progress.h"

namespace longattn {

void add_merge(CLI::App& app, const Invocation&, Action& chosen) {
  CLI::App* command =
      app.add_subcommand("merge", "Put the runs of all shards of an experiment into one folder");
  struct Arguments {
    std::string folder;
    std::vector<std::string> shards;
  };
  auto arguments = std::make_shared<Arguments>();
  command->add_option("folder", arguments->folder, "new folder for the whole")->required();
  command->add_option("shards", arguments->shards, "folders of `run --shard i/n`")->required();
  command->footer(
      "The shards must come from one config, one build and, where time is measured, one kind of\n"
      "machine. A shard that is missing leaves its cells skipped; the shards' folders stay as "
      "they\n"
      "are. Exit codes are those of `run`.");
  command->callback([&chosen, arguments] {
    chosen = [arguments]() -> int {
      std::vector<std::string> remarks;
      const RunResults results = merge_runs(arguments->shards, arguments->folder, remarks);
      for (const std::string& remark : remarks) {
        say(fmt::format("longattn: warning: {}\n", remark));
      }
      present(results, {});
      return exit_code_of(results);
    };
  });
}

}  // namespace longattn

#include "experiments/config/schema.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "experiments/cli/commands.h"
#include "experiments/exit_codes.h"

namespace longattn {

void add_schema(CLI::App& app, const Invocation& invocation, Action& chosen) {
  CLI::App* command = app.add_subcommand(
      "schema", "Print the JSON Schema of configs, with which an editor checks and completes them");
  command->footer(
      "For editors with the YAML language server, put it into a file and name it in the first "
      "line\n"
      "of a config:\n\n"
      "  longattn schema > longattn.schema.json\n"
      "  # yaml-language-server: $schema=longattn.schema.json");
  command->callback([&] {
    chosen = [&]() -> int {
      fmt::print("{}\n", config_schema(invocation.variants).dump(2));
      return kExitOk;
    };
  });
}

}  // namespace longattn

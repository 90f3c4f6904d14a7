#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "experiments/cli/commands.h"
#include "experiments/exit_codes.h"

namespace longattn {

void add_list(CLI::App& app, const Invocation& invocation, Action& chosen) {
  CLI::App* command = app.add_subcommand("list", "List the variants, one line each");
  auto as_json = std::make_shared<bool>(false);
  command->add_flag("--json", *as_json, "for programs");
  command->footer("`longattn describe NAME` tells what one of them takes.");
  command->callback([&, as_json] {
    chosen = [&, as_json]() -> int {
      nlohmann::json all = nlohmann::json::array();
      for (const Variant* variant : invocation.variants) {
        if (*as_json) {
          all.push_back(
              {{"name", variant->name}, {"summary", variant->summary}, {"paper", variant->paper}});
        } else {
          fmt::print("{:<20} {}\n", variant->name, variant->summary);
        }
      }
      if (*as_json) fmt::print("{}\n", all.dump(2));
      return kExitOk;
    };
  });
}

}  // namespace longattn

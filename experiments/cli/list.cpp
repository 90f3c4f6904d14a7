#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "experiments/cli/commands.h"
#include "experiments/exit_codes.h"
#include "experiments/inputs/generator.h"

namespace longattn {

namespace {

int list_generators(bool as_json) {
  nlohmann::json all = nlohmann::json::array();
  for (const Generator* generator : generators()) {
    if (as_json) {
      all.push_back(
          {{"name", generator->name}, {"summary", generator->summary}, {"why", generator->why}});
    } else {
      fmt::print("{:<20} {}\n", generator->name, generator->summary);
    }
  }
  if (as_json) fmt::print("{}\n", all.dump(2));
  return kExitOk;
}

}  // namespace

void add_list(CLI::App& app, const Invocation& invocation, Action& chosen) {
  CLI::App* command = app.add_subcommand("list", "List the variants, one line each");
  auto as_json = std::make_shared<bool>(false);
  command->add_flag("--json", *as_json, "for programs");
  auto inputs = std::make_shared<bool>(false);
  command->add_flag("--inputs", *inputs, "list the generators of inputs instead");
  command->footer("`longattn describe NAME` tells what one of them takes.");
  command->callback([&, as_json, inputs] {
    chosen = [&, as_json, inputs]() -> int {
      if (*inputs) return list_generators(*as_json);
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

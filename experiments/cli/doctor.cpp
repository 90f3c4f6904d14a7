#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "experiments/cli/commands.h"
#include "experiments/exit_codes.h"
#include "experiments/machine_check.h"

namespace longattn {
namespace {

constexpr double kLookSeconds = 0.5;

std::string_view name_of(MachineFact::State state) {
  switch (state) {
    case MachineFact::State::fine:
      return "fine";
    case MachineFact::State::disturbs:
      return "disturbs";
    case MachineFact::State::unknown:
      return "unknown";
  }
  return "?";
}

void print(const std::vector<MachineFact>& facts) {
  for (const MachineFact& fact : facts) {
    fmt::print("{:<9} {:<16} {}\n", name_of(fact.state), fact.subject, fact.found);
    if (!fact.advice.empty()) fmt::print("{:<26} -> {}\n", "", fact.advice);
  }
}

nlohmann::json to_json(const std::vector<MachineFact>& facts) {
  nlohmann::json list = nlohmann::json::array();
  for (const MachineFact& fact : facts) {
    list.push_back(
        {{"subject", fact.subject}, {"state", name_of(fact.state)}, {"found", fact.found}});
    if (!fact.advice.empty()) list.back()["advice"] = fact.advice;
  }
  return list;
}

}  // namespace

void add_doctor(CLI::App& app, const Invocation&, Action& chosen) {
  CLI::App* command = app.add_subcommand(
      "doctor", "Say what on this machine makes timings untrustworthy, and what to do about it");
  auto as_json = std::make_shared<bool>(false);
  command->add_flag("--json", *as_json, "for programs");
  command->footer(
      "Changes nothing. `unknown` is what the kernel does not tell, as in most virtual machines.\n"
      "Errors, workspace and heap do not depend on any of this, times do. Exit code 0: nothing\n"
      "disturbs; 1: something does.");
  command->callback([&chosen, as_json] {
    chosen = [as_json]() -> int {
      std::vector<MachineFact> facts = examine_machine();
      facts.push_back(find_busy_processes(kLookSeconds));
      if (*as_json) {
        fmt::print("{}\n",
                   to_json(facts).dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
      } else {
        print(facts);
      }
      const bool disturbed = std::ranges::any_of(facts, [](const MachineFact& fact) {
        return fact.state == MachineFact::State::disturbs;
      });
      return disturbed ? kExitFailedCells : kExitOk;
    };
  });
}

}  // namespace longattn

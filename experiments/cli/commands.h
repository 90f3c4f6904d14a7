#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/variant.h"

namespace longattn {

/// What every command may need to know about this invocation.
struct Invocation {
  std::vector<const Variant*> variants;  ///< built-in and additional ones
  std::vector<std::string> arguments;    ///< as typed, the program first
};

/// The command that the user chose; returns an exit code. Errors are thrown (core/error.h).
using Action = std::function<int()>;

/// `--set KEY=VALUE`, as often as one likes: puts values into the config (read_document).
void add_set_option(CLI::App& command, std::vector<std::string>& overrides);

// One file a command: experiments/cli/<name>.cpp. Each adds a CLI11 subcommand with help that
// teaches, and sets `chosen` when it is the one typed.
void add_run(CLI::App& app, const Invocation& invocation, Action& chosen);
void add_merge(CLI::App& app, const Invocation& invocation, Action& chosen);
void add_doctor(CLI::App& app, const Invocation& invocation, Action& chosen);
void add_rehearse(CLI::App& app, const Invocation& invocation, Action& chosen);
void add_plan(CLI::App& app, const Invocation& invocation, Action& chosen);
void add_list(CLI::App& app, const Invocation& invocation, Action& chosen);
void add_describe(CLI::App& app, const Invocation& invocation, Action& chosen);
void add_compare(CLI::App& app, const Invocation& invocation, Action& chosen);
void add_attend(CLI::App& app, const Invocation& invocation, Action& chosen);
void add_check(CLI::App& app, const Invocation& invocation, Action& chosen);
void add_report(CLI::App& app, const Invocation& invocation, Action& chosen);
void add_inspect(CLI::App& app, const Invocation& invocation, Action& chosen);
void add_schema(CLI::App& app, const Invocation& invocation, Action& chosen);
void add_parameters(CLI::App& app, const Invocation& invocation, Action& chosen);
/// `__worker`: hidden; one measurement in its own process.
void add_worker(CLI::App& app, const Invocation& invocation, Action& chosen);

}  // namespace longattn

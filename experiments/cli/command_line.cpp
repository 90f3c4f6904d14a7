#include "experiments/cli/command_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <new>

#include "core/error.h"
#include "experiments/cli/commands.h"
#include "experiments/config/diagnostics.h"
#include "experiments/exit_codes.h"
#include "experiments/progress.h"
#include "variants/registry.h"

namespace longattn {
namespace {

using AddCommand = void (*)(CLI::App&, const Invocation&, Action&);
// In the order of `longattn --help`.
const std::vector<AddCommand> kCommands = {add_run,     add_merge,      add_plan,    add_rehearse,
                                           add_list,    add_describe,   add_check,   add_report,
                                           add_compare, add_attend,     add_inspect, add_schema,
                                           add_doctor,  add_parameters, add_worker};

int fail(ExitCode code, const std::string& message) {
  say(fmt::format("longattn: error: {}\n", message));
  return code;
}

// Every error that a user can cause ends here, as one line and one exit code.
int guarded(const Action& action) {
  try {
    return action();
  } catch (const ConfigError& error) {
    say(fmt::format("{}\n", error.what()));  // a text of its own, many errors long
    return kExitUsage;
  } catch (const DataError& error) {
    return fail(kExitData, error.what());
  } catch (const InUseError& error) {
    return fail(kExitInUse, error.what());
  } catch (const CreateError& error) {
    return fail(kExitCannotCreate, error.what());
  } catch (const IoError& error) {
    return fail(kExitIo, error.what());
  } catch (const Error& error) {
    return fail(kExitUsage, error.what());
  } catch (const std::bad_alloc&) {
    return fail(kExitInternal, "out of memory");
  } catch (const std::exception& error) {
    return fail(kExitInternal, fmt::format("internal: {}", error.what()));
  }
}

std::vector<const Variant*> all_variants(const std::vector<const Variant*>& additional) {
  const auto builtin = builtin_variants();
  std::vector<const Variant*> all(builtin.begin(), builtin.end());
  for (const Variant* variant : additional) {
    if (find_variant(all, variant->name) != nullptr) {
      throw OptionError(fmt::format("two variants are named '{}'", variant->name));
    }
    all.push_back(variant);
  }
  return all;
}

}  // namespace

int run_command_line(int argc, char** argv, const std::vector<const Variant*>& additional) {
  return guarded([&]() -> int {
    const Invocation invocation{all_variants(additional), {argv, argv + argc}};
    CLI::App app{
        "What an attention variant costs, and how wrong it is, compared with full "
        "attention, as the context grows.",
        "longattn"};
    app.require_subcommand(1);
    app.footer("Start with: longattn run configs/quickstart.yaml");
    Action chosen;
    for (AddCommand add : kCommands) add(app, invocation, chosen);
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      const int code = app.exit(error);  // prints help, or the error
      return code == 0 ? kExitOk : kExitUsage;
    }
    return guarded(chosen);
  });
}

}  // namespace longattn

#include "experiments/cli/command_line.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <new>
#include <system_error>

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

// What is opened in the place of a closed standard stream would get whatever is said there: a
// journal, lines of progress. (Writing to the stand-in fails, as it does on a closed stream.)
void occupy_closed_streams() {
  for (int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) < 0) static_cast<void>(open("/dev/null", O_RDONLY));
  }
}

// What was printed is out, or this is an error (but for a run that a signal has ended: its terminal
// may be gone, of which it has spoken itself).
int flushed(int code) {
  if (code > 128) return code;
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  throw IoError(fmt::format("cannot write to standard output{}{}", errno == 0 ? "" : ": ",
                            errno == 0 ? "" : std::strerror(errno)));
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
  } catch (const std::system_error& error) {  // of the library: a folder that is gone, a full disk
    return fail(kExitIo, error.what());
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
  occupy_closed_streams();
  std::signal(SIGXFSZ, SIG_IGN);  // a write beyond the size limit of files fails, as on a full disk
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
      return flushed(code == 0 ? kExitOk : kExitUsage);
    }
    return guarded([&] { return flushed(chosen()); });
  });
}

}  // namespace longattn

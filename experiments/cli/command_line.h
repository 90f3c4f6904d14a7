#pragma once

#include <span>
#include <vector>

#include "core/variant.h"

namespace longattn {

/// The whole tool: parses the command line, runs one command, returns the exit code.
///
/// `additional` are variants beside the built-in ones; a name that is already taken is an error.
/// Exit codes: 0 every cell ok, skipped or unsupported; 1 any other status; 2 command line or
/// config; 65 content of a tensor, trace or journal file; 70 internal; 73 cannot create output;
/// 74 input or output failed; 75 folder in use; 130/143 interrupted.
int run_command_line(int argc, char** argv, const std::vector<const Variant*>& additional = {});

}  // namespace longattn

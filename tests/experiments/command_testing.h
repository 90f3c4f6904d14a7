#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "experiments/cli/command_line.h"
#include "tests/experiments/toy_variant.h"

namespace longattn {

/// What one invocation of the tool did.
struct CommandResult {
  int code = 0;
  std::string out, err;
};

/// Runs the tool in this process, with the toy variants beside the built-in ones.
inline CommandResult run_command(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "longattn");
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  CommandResult result;
  result.code = run_command_line(static_cast<int>(arguments.size()), pointers.data(),
                                 {&toy_variant(), &plain_toy_variant()});
  result.out = ::testing::internal::GetCapturedStdout();
  result.err = ::testing::internal::GetCapturedStderr();
  return result;
}

}  // namespace longattn

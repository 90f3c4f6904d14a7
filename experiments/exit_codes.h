#pragma once

namespace longattn {

/// Exit codes of the program (the numbers above 64 follow BSD sysexits).
enum ExitCode : int {
  kExitOk = 0,
  kExitFailedCells = 1,
  kExitUsage = 2,
  kExitRegression = 3,
  kExitData = 65,
  kExitInternal = 70,
  kExitCannotCreate = 73,
  kExitIo = 74,
  kExitInUse = 75,
  kExitInterrupted = 130,
  kExitTerminated = 143,
};

}  // namespace longattn

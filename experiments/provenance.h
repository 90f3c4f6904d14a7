#pragma once

#include "experiments/cell.h"

namespace longattn {

/// Facts of this machine and build that figures depend on: version, compiler, build type,
/// instruction set chosen, processor, cores, memory, kernel, load, date (UTC).
Provenance machine_provenance();

}  // namespace longattn

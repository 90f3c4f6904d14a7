#pragma once

#include <string>

#include "experiments/cell.h"

namespace longattn {

/// The terminal table of print_table() as text: at most 100 columns, never a control code beyond
/// the line ends.
std::string terminal_table(const RunResults& results);

}  // namespace longattn

#pragma once

#include <string>

#include "experiments/report/layout.h"

namespace longattn {

/// "sinks draw 0.401 ±0.6% of the attention (asked: 0.4); ...": what was asked of the input of a
/// block and what full attention does on it, at the longest length where it was measured; empty
/// when it was not.
std::string input_sentence(const RunResults& results, const Block& block);

/// One row per input and length of these blocks, for the page; empty when nothing was measured.
std::string input_table(const RunResults& results, const std::vector<Block>& blocks);

}  // namespace longattn

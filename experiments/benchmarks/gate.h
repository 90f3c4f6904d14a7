#pragma once

#include <string>

#include "core/attention.h"

namespace longattn::benchmarks {

/// Why this output must not be timed, in one sentence; empty if it is right.
///
/// The first row, the last and two others of every (batch entry, head) are held against the
/// definition in double: |output - W V| within the derived tolerance (core/tolerance.h), or, for
/// programs that are not ours, within `absolute_bound` if that is positive. Values are of order 1,
/// so an absolute bound reads as a relative one of the largest outputs.
std::string refusal(const Attention& attention, const Inputs& inputs, const ConstTensorView& output,
                    double absolute_bound = 0);

}  // namespace longattn::benchmarks

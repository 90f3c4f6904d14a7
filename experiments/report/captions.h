#pragma once

#include <optional>
#include <string>

#include "experiments/report/plots.h"

namespace longattn {

/// What a figure shows and how to read it, one paragraph of text.
std::string caption(const Block& block, Plot::Kind kind);

/// What the operations of a cell that was not run would take at the speed at which its series ran
/// at the longest length that has a time; nothing without such a length.
std::optional<double> predicted_seconds(const Series& series, const CellResult& result);

/// Whether its error is larger than what float32 rounding does to full attention itself.
bool above_rounding(const CellResult& result);
/// At any length.
bool is_approximation(const Series& series);
/// Whether a series stands in the figures of cost: the null baselines are there for their errors,
/// and would only squeeze the others.
bool is_costed(const Block& block, const Series& series);

}  // namespace longattn

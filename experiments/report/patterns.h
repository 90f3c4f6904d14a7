#pragma once

#include <string>

#include "experiments/cell.h"

namespace longattn {

/// An attention pattern as inline SVG of at most `max_bytes`: queries downwards, keys to the right,
/// colour by the square root of mass over the brightest bin (the 99th percentile of those with
/// mass; above it saturates), bins without any mass left blank. Pictures that are larger than 96
/// bins a side, or would not fit, are binned to fewer. Throws std::invalid_argument when mass does
/// not have rows * columns values. `frame` is drawn around it: pattern_frame, or what shows it.
std::string pattern_svg(const PatternPicture& picture, const std::string& frame,
                        size_t max_bytes = size_t{40} << 10);
/// The picture's edge and axes, as part of its <svg>.
std::string pattern_frame(Index query_len, Index key_len);

/// The colours from least to most mass as a CSS gradient: "#440154, #472d7b, ...".
std::string pattern_gradient();

}  // namespace longattn

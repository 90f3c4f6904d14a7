#pragma once

#include <string>

#include "experiments/report/layout.h"

namespace longattn {

/// How a series looks, the same in every figure: colours that colour-blind readers tell apart
/// (Okabe & Ito 2008), one per variant; a marker per setting of it; and its number at the curve's
/// end.
struct Look {
  std::string colour;        ///< "#0072b2"
  int marker = 7, open = 6;  ///< gnuplot's filled point type, and its outline
  bool dashed = false;       ///< the null baselines
};
Look look(const Series& series);
/// The same by numbers of a hue, of kHues, and of a setting.
Look look(size_t hue, size_t setting);
inline constexpr size_t kHues = 7;

/// The marker on its line, 26 wide and 10 high, as part of an <svg>, for a key of the page; `open`:
/// its outline.
std::string swatch(const Look& look, bool open);

/// Colour of text and axes in scripts; the page turns it into its own ink.
inline constexpr std::string_view kInk = "#333333";

}  // namespace longattn

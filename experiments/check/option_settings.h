#pragma once

#include <vector>

#include "core/options.h"

namespace longattn {

/// Settings of a variant's options worth checking: the defaults, then one option changed at a time
/// to the edges and the middle of its range (integers: minimum, 3, 17, 64, very large; numbers:
/// minimum, 0.5, 2, 17; choices and booleans: all; lists: [], [0], [0, 5]; `auto` where allowed).
/// Options that name files stay as they are. At most `limit` settings, taken in turn
/// from each option so that none is left out.
std::vector<Options> option_settings(const OptionList& list, Index limit);

/// "window=3, dilation=1", all options; "defaults" for a variant without any.
std::string describe(const Options& options);

}  // namespace longattn

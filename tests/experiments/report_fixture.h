#pragma once

#include <array>
#include <string>

#include "experiments/cell.h"

namespace longattn::testing {

/// Texts that break out of HTML, terminals, shells, gnuplot scripts or CSV where they are not kept
/// in their place.
inline const std::array<std::string, 8> kHostile = {"<script>alert(1)</script>",
                                                    "\"><img src=x onerror=alert(1)> 'q', &amp;",
                                                    "\x1b]0;owned\x07 \xc2\x9b"
                                                    "2J",
                                                    "$(touch x) `touch x` @{_x}^2 \\n %s",
                                                    "# comment\t\"; system('touch x')",
                                                    "two\r\nlines, \xff and \xe2\x80\xae"
                                                    "right",
                                                    "\\input{/etc/passwd}%$_^{}~#& ``-- | * [x](y)",
                                                    std::string(300, 'w')};

/// A run as the harness writes it: full, blockwise, two of longformer, mean_value and zero at four
/// lengths on two inputs; one timeout, one oom, one unsupported and one nonconforming cell. The
/// figures are invented but consistent. No hostile text.
RunResults realistic_results();

/// The same with hostile text in every field that a user, a file or a variant can fill.
RunResults hostile_results();

/// 300 cells: two inputs at five lengths, 30 variants with settings of their own, patterns of all.
RunResults large_results();

/// That many inputs, settings of every variant together, and lengths, with all that is measured.
RunResults many_results(Index inputs, Index settings, Index lengths);

/// Attention patterns for the cells of the first input at the longest length.
PatternPicture picture_of(const CellResult& result, Index size);

}  // namespace longattn::testing

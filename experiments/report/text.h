#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "experiments/cell.h"

namespace longattn {

// Numbers and user text as people read them. The same bytes under any locale.

/// The shortest text that reads back as the same double: "0.1", "1e-07", "4096".
std::string exact(double value);
/// Three significant digits: "123", "12.3", "0.0123", "1.23e-07".
std::string three_digits(double value);
/// "12.3 ms": µs, ms or s.
std::string duration(double seconds);
/// "4.00 MiB": B, KiB, MiB, GiB or TiB.
std::string bytes(double count);
/// "16,384".
std::string grouped(Index value);
/// "rank memory 12.0 to 12.7 MiB, balance 1.00": least and most of each figure's parts.
std::string figures_text(const std::vector<PlanFigure>& figures);
/// A length in the narrowest text: "16k" for 16,384, "1M" for 1,048,576, else "1,000".
std::string short_length(Index length);
/// "±0.8%": the wider half of the interval against the value; empty when the value is exact or 0.
std::string half_width(const Estimate& estimate);

/// In a sentence: of a list of more than kMostListed only the first kFirstOnes.
inline constexpr size_t kMostListed = 20, kFirstOnes = 6;
/// These of a list, and how many more there are ("994 more").
std::vector<std::string> first_ones(std::vector<std::string> parts);

/// User text in one line that cannot move the cursor or turn the reading direction: control
/// characters, bytes that are not UTF-8 and bidirectional overrides become \xNN.
std::string one_line(std::string_view text);
/// Columns that the text takes on a terminal (wide East Asian characters take two).
size_t display_width(std::string_view text);
/// The longest beginning that takes at most `width` columns; a shortened one ends in "…".
std::string shortened(std::string_view text, size_t width);
/// one_line() for HTML, inside an element or a quoted attribute.
std::string html(std::string_view text);
/// html() of several lines, each ending in a line end.
std::string html_lines(std::string_view text);
/// one_line() for Markdown (CommonMark, GitHub's tables): nothing in it is markup.
std::string markdown(std::string_view text);
/// one_line() for LaTeX text in any encoding of fonts: no command, no ligature. What is neither
/// ASCII nor a sign that this report writes itself stays as it is, in UTF-8.
std::string latex(std::string_view text);

}  // namespace longattn

#include "experiments/report/looks.h"

#include <fmt/format.h>

#include <array>

namespace longattn {
namespace {

// Yellow, weak on white, comes last.
constexpr std::array<const char*, kHues> kPalette = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                     "#e69f00", "#56b4e9", "#bba800"};

struct Marker {
  int filled;        // of gnuplot; its outline is one less
  const char* path;  // in a square of 10 x 10
};
constexpr std::array<Marker, 6> kMarkers = {{{7, "M5 1a4 4 0 1 0 .01 0z"},
                                             {5, "M1.5 1.5h7v7h-7z"},
                                             {9, "M5 .8 9.4 8.6H.6z"},
                                             {13, "M5 .2 9.8 5 5 9.8.2 5z"},
                                             {11, "M5 9.2.6 1.4h8.8z"},
                                             {15, "M5 .6 9.4 3.8 7.7 9H2.3L.6 3.8z"}}};

}  // namespace

Look look(size_t hue, size_t setting) {
  const int marker = kMarkers[(hue + setting) % kMarkers.size()].filled;
  return {kPalette[hue % kHues], marker, marker - 1, false};
}

Look look(const Series& series) {
  Look result = look(series.hue, series.setting);
  if (series.variant == "full") result.colour = kInk;
  if (is_null_baseline(series.variant)) {
    result.colour = "#8c8c8c";
    result.dashed = true;
  }
  return result;
}

std::string swatch(const Look& look, bool open) {
  const char* path = kMarkers.front().path;
  for (const Marker& marker : kMarkers) {
    if (marker.filled == look.marker) path = marker.path;
  }
  const std::string colour = look.colour == kInk ? "currentColor" : look.colour;
  return fmt::format(
      "<path d=\"M0 5h26\" stroke=\"{0}\" stroke-width=\"1.4\"{1}/>"
      "<path transform=\"translate(8)\" {2} d=\"{3}\"/>",
      colour, look.dashed ? " stroke-dasharray=\"3 2.5\"" : "",
      open ? fmt::format("fill=\"var(--paper)\" stroke=\"{}\"", colour)
           : fmt::format("fill=\"{}\"", colour),
      path);
}

}  // namespace longattn

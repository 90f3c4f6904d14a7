#include "experiments/report/patterns.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>

#include "experiments/report/text.h"

namespace longattn {
namespace {

constexpr Index kMaxSide = 96;
constexpr int kLevels = 24;

// Viridis (Smith & van der Walt 2015) at equal steps.
constexpr std::array<std::array<double, 3>, 9> kViridis = {{{0x44, 0x01, 0x54},
                                                            {0x47, 0x2d, 0x7b},
                                                            {0x3b, 0x52, 0x8b},
                                                            {0x2c, 0x72, 0x8e},
                                                            {0x21, 0x91, 0x8c},
                                                            {0x28, 0xae, 0x80},
                                                            {0x5e, 0xc9, 0x62},
                                                            {0xad, 0xdc, 0x30},
                                                            {0xfd, 0xe7, 0x25}}};

std::string colour(double part) {
  const double at = std::clamp(part, 0.0, 1.0) * (kViridis.size() - 1);
  const size_t low = std::min(static_cast<size_t>(at), kViridis.size() - 2);
  std::string text = "#";
  for (size_t c = 0; c < 3; ++c) {
    const double mixed =
        std::lerp(kViridis[low][c], kViridis[low + 1][c], at - static_cast<double>(low));
    text += fmt::format("{:02x}", static_cast<int>(std::round(mixed)));
  }
  return text;
}

// Fewer, larger bins: means over queries, sums over keys, so that rows keep their mass.
PatternPicture binned(const PatternPicture& from, Index rows, Index columns) {
  PatternPicture to;
  to.rows = rows;
  to.columns = columns;
  to.mass.assign(static_cast<size_t>(rows * columns), 0);
  std::vector<Index> queries(static_cast<size_t>(rows), 0);
  for (Index i = 0; i < from.rows; ++i) ++queries[static_cast<size_t>(i * rows / from.rows)];
  for (Index i = 0; i < from.rows; ++i) {
    const Index row = i * rows / from.rows;
    const auto share = static_cast<float>(queries[static_cast<size_t>(row)]);
    for (Index j = 0; j < from.columns; ++j) {
      const Index column = j * columns / from.columns;
      to.mass[static_cast<size_t>(row * columns + column)] +=
          from.mass[static_cast<size_t>(i * from.columns + j)] / share;
    }
  }
  return to;
}

// The mass that is drawn brightest.
float brightest(const PatternPicture& picture) {
  std::vector<float> positive;
  for (const float mass : picture.mass) {
    if (mass > 0 && std::isfinite(mass)) positive.push_back(mass);
  }
  if (positive.empty()) return 1;
  const auto at = positive.begin() + static_cast<std::ptrdiff_t>((positive.size() - 1) * 99 / 100);
  std::ranges::nth_element(positive, at);
  return *at;
}

// 0: blank; 1 .. kLevels from least to most.
int level(float mass, float top) {
  if (!(mass > 0)) return 0;
  return 1 + static_cast<int>(std::round(std::min(1.0F, std::sqrt(mass / top)) * (kLevels - 1)));
}

// One path a level: runs of equal level in a row as horizontal strokes, one unit wide.
std::string strokes(const PatternPicture& picture) {
  std::array<std::string, kLevels + 1> paths;
  const float top = brightest(picture);
  for (Index i = 0; i < picture.rows; ++i) {
    const float* row = picture.mass.data() + i * picture.columns;
    for (Index j = 0; j < picture.columns;) {
      const int here = level(row[j], top);
      Index end = j + 1;
      while (end < picture.columns && level(row[end], top) == here) ++end;
      if (here > 0) paths[static_cast<size_t>(here)] += fmt::format("M{} {}h{}", j, i, end - j);
      j = end;
    }
  }
  std::string text;
  for (int n = 1; n <= kLevels; ++n) {
    const std::string& path = paths[static_cast<size_t>(n)];
    if (path.empty()) continue;
    text += fmt::format("<path stroke=\"{}\" d=\"{}\"/>", colour((n - 1.0) / (kLevels - 1)), path);
  }
  return text;
}

std::string drawing(const PatternPicture& picture, const std::string& strokes_text,
                    const std::string& frame) {
  // The heat map fills 200 x 200 units; strokes are a little wider than a bin, against seams.
  const double x = 200.0 / static_cast<double>(picture.columns);
  const double y = 200.0 / static_cast<double>(picture.rows);
  return fmt::format(
      "<svg class=\"pattern\" viewBox=\"0 0 250 236\" role=\"img\" "
      "aria-label=\"Attention pattern of {}\">"
      "<g transform=\"translate(42 6) scale({:.6g} {:.6g}) translate(0 .5)\" fill=\"none\" "
      "stroke-width=\"1.04\">{}</g>{}</svg>",
      html(picture.title), x, y, strokes_text, frame);
}

}  // namespace

std::string pattern_frame(Index query_len, Index key_len) {
  return fmt::format(
      "<rect x=\"42\" y=\"6\" width=\"200\" height=\"200\" fill=\"none\" stroke=\"currentColor\" "
      "stroke-width=\".6\"/>"
      "<g fill=\"currentColor\" font-size=\"13\"><text x=\"42\" y=\"221\">0</text>"
      "<text x=\"142\" y=\"221\" text-anchor=\"middle\">key</text>"
      "<text x=\"242\" y=\"221\" text-anchor=\"end\">{}</text>"
      "<g text-anchor=\"end\"><text x=\"37\" y=\"16\">0</text>"
      "<text transform=\"translate(30 106) rotate(-90)\" text-anchor=\"middle\">query</text>"
      "<text x=\"37\" y=\"206\">{}</text></g></g>",
      short_length(key_len), short_length(query_len));
}

std::string pattern_svg(const PatternPicture& picture, const std::string& frame, size_t max_bytes) {
  const auto size = static_cast<Index>(picture.mass.size());
  if (picture.rows < 1 || picture.columns < 1 || size != picture.rows * picture.columns) {
    throw std::invalid_argument(
        fmt::format("pattern: {} x {} bins, {} values", picture.rows, picture.columns, size));
  }
  for (Index side = kMaxSide;; side /= 2) {
    PatternPicture small = picture;
    if (picture.rows > side || picture.columns > side) {
      small = binned(picture, std::min(side, picture.rows), std::min(side, picture.columns));
    }
    small.title = shortened(one_line(picture.title), 200);
    const std::string text = drawing(small, strokes(small), frame);
    if (text.size() <= max_bytes || side <= 8) return text;
  }
}

std::string pattern_gradient() {
  std::string text;
  for (size_t n = 0; n < kViridis.size(); ++n) {
    text += n == 0 ? "" : ", ";
    text += colour(static_cast<double>(n) / (kViridis.size() - 1));
  }
  return text;
}

}  // namespace longattn

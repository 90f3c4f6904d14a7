#include "experiments/report/plots.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/io/file.h"
#include "experiments/report/figures.h"
#include "experiments/report/gnuplot.h"
#include "experiments/report/page_part.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

// Height of a line of the key as each terminal sets it, in pixels of the picture.
constexpr int kSvgKeyLine = 18, kPdfKeyLine = 13;
constexpr size_t kKeyLabel = 64;    // columns of a label
constexpr Index kMaxSvg = 4 << 20;  // bytes
constexpr double kPdfInches = 3.4;  // 86 mm: a column of a paper

// Columns of the key under the figure, from the width of its longest label.
size_t key_columns(const Figure& figure) {
  size_t longest = 1;
  for (const auto& entry : figure.plot.key) longest = std::max(longest, display_width(entry.label));
  longest = std::min(longest, kKeyLabel);
  // gnuplot lets the columns be as wide as the plot, and drops what does not fit.
  constexpr size_t kCharacter = 9, kSample = 50, kNumber = 4;
  return std::clamp<size_t>(kPlotWidth / ((longest + kNumber) * kCharacter + kSample), 1,
                            std::max<size_t>(figure.plot.key.size(), 1));
}

std::string svg_terminal(int height) {
  return fmt::format(
      "set terminal svg size {}, {} dynamic noenhanced font 'Helvetica,14' linewidth 1.2\n",
      kPictureWidth, height);
}

// The picture with room for the key below it.
int height_with_key(const Figure& figure, int key_line) {
  const size_t columns = key_columns(figure);
  const size_t lines = (figure.plot.key.size() + columns - 1) / columns;
  return kPictureHeight + key_line * static_cast<int>(lines) + 8;
}

// Settings that keep the plot at the upper edge and in its size whatever the height.
std::string placed(int height) {
  const auto down = [&](double pixels) { return 1 - pixels / height; };
  return fmt::format(
      "set lmargin at screen {:.4f}\nset rmargin at screen {:.4f}\nset tmargin at screen {:.4f}\n"
      "set bmargin at screen {:.4f}\nset key at screen 0.02, screen {:.4f}\n",
      double{kMarginLeft} / kPictureWidth, 1 - double{kMarginRight} / kPictureWidth,
      down(kMarginTop), down(kPictureHeight - kMarginBottom), down(kPictureHeight - 6));
}

std::string script(const Figure& figure) {
  const int svg_height = height_with_key(figure, kSvgKeyLine);
  const int pdf_height = height_with_key(figure, kPdfKeyLine);
  size_t labels = 1;
  for (const auto& entry : figure.plot.key) labels = std::max(labels, entry.number);
  return fmt::format(
      R"(# Draws {name}.svg and {name}.pdf from {name}.tsv: gnuplot {name}.gp
# All names are in the data file, where gnuplot takes them literally. Rows marked `point` were
# measured; `open` ones have no result, and their marker stands at a limit or at the upper edge.
# `beaten` and `tied`: measured, and not on the Pareto front.
reset session
set encoding utf8
set datafile separator "	"
set datafile columnheaders
set datafile commentschars ""
array label[{labels}]
set table $unused
set xrange [0:1]
set yrange [0:1]
plot '{name}.tsv' using (label[int($1)] = strcol(2), 0):(0) with points
unset table
pick(series, mark) = column(1) == series && strcol(5) eq mark ? column(6) : NaN
key(series) = sprintf('%d  %s', series, label[series])
set border 3 linecolor rgb '{ink}' lw 0.8
set tics nomirror out scale 0.7, 0.4 textcolor rgb '{ink}'
set xlabel textcolor rgb '{ink}' offset 0, 0.3
set grid xtics ytics back lt 1 lc rgb '#e4e4e4' lw 0.8, lt 1 lc rgb '#e4e4e4' lw 0.8
set key top left horizontal Left reverse noenhanced samplen 2   width 1 maxcols {columns} textcolor rgb '{ink}'
set errorbars small
{axes}{svg_place}set pointsize 0.8
{svg}set output '{name}.svg'
plot {sample}{curves}
{pdf_place}set pointsize 0.5
set terminal pdfcairo size {width}in, {inches}in noenhanced font 'Helvetica,6.5' linewidth 0.9
set output '{name}.pdf'
replot
unset output
)",
      fmt::arg("name", figure.name), fmt::arg("ink", kInk),
      fmt::arg("columns", key_columns(figure)), fmt::arg("labels", labels),
      fmt::arg("svg_place", placed(svg_height)), fmt::arg("pdf_place", placed(pdf_height)),
      fmt::arg("axes", figure.axes), fmt::arg("svg", svg_terminal(svg_height)),
      // gnuplot takes the word `sample` only before a range.
      fmt::arg("sample", figure.curves.starts_with('[') ? "sample " : ""),
      fmt::arg("curves", figure.curves), fmt::arg("width", exact(kPdfInches)),
      fmt::arg("inches", fmt::format("{:.3f}", kPdfInches * pdf_height / kPictureWidth)));
}

// Draws the same without its key, into page.svg.
std::string page_script(const Figure& figure) {
  return fmt::format(
      "load '{}.gp'\nset pointsize 0.8\n{}{}unset key\nset output 'page.svg'\nreplot\n",
      figure.name, placed(kPictureHeight), svg_terminal(kPictureHeight));
}

Plot draw(Figure figure, const DrawingFolder& folder) {
  const std::string path = folder.path() + "/" + figure.name;
  write_text(path + ".tsv", figure.data);
  write_text(path + ".gp", script(figure));
  write_text(folder.path() + "/page.gp", page_script(figure));
  run_gnuplot(folder.path(), "page.gp");
  folder.require_whole("page.svg");
  figure.plot.svg =
      inline_svg(read_text(folder.path() + "/page.svg", kMaxSvg), figure.plot.caption);
  for (const char* ending : {".tsv", ".gp", ".svg", ".pdf"}) {
    folder.publish(figure.name + ending, figure.name + ending);
  }
  return std::move(figure.plot);
}

}  // namespace

std::vector<Plot> draw_plots(std::span<const Block> blocks, const std::string& folder) {
  const DrawingFolder drawing(folder + "/plots");
  std::vector<Plot> plots;
  for (size_t n = 0; n < blocks.size(); ++n) {
    const std::string number = blocks.size() == 1 ? "" : fmt::format("-{}", n + 1);
    const bool all = blocks[n].series.size() <= kCurves;
    const Block drawn = all ? blocks[n] : part_of(blocks[n], kCurves, blocks[n].lengths.size());
    for (const auto& [kind, name] :
         {std::pair(Plot::Kind::time, "time"), std::pair(Plot::Kind::workspace, "workspace"),
          std::pair(Plot::Kind::error_length, "error-length"),
          std::pair(Plot::Kind::error, "error"), std::pair(Plot::Kind::budget, "error-budget"),
          std::pair(Plot::Kind::pareto, "pareto"), std::pair(Plot::Kind::heads, "error-heads")}) {
      Figure figure = make_figure(drawn, kind, name + number);
      if (figure.curves.empty()) continue;
      figure.plot.block = n;
      plots.push_back(draw(std::move(figure), drawing));
    }
  }
  return plots;
}

}  // namespace longattn

#include "experiments/report/plots.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "core/io/file.h"
#include "experiments/report/figures.h"
#include "experiments/report/gnuplot.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;

constexpr int kWidth = 460, kHeight = 300;  // pixels, without the key
constexpr int kKeyLine = 17;                // pixels, of one line of the key
constexpr Index kMaxSvg = 4 << 20;          // bytes

// Columns of the key under the figure, from the width of its longest label.
size_t key_columns(const Figure& figure) {
  size_t longest = 1;
  for (const std::string& label : figure.labels) longest = std::max(longest, display_width(label));
  return std::clamp<size_t>(kWidth / (longest * 7 + 45), 1,
                            std::max<size_t>(figure.labels.size(), 1));
}

std::string script(const Figure& figure) {
  const size_t columns = key_columns(figure);
  const size_t lines = (figure.labels.size() + columns - 1) / columns;
  const int height = kHeight + kKeyLine * static_cast<int>(lines);
  return fmt::format(
      R"(# Draws {name}.svg and {name}.pdf from {name}.dat: gnuplot {name}.gp
# All names are in the data file, where gnuplot takes them literally.
reset session
set encoding utf8
set datafile separator "\t"
set datafile commentschars ""
caption = ''
set table $unused
plot '{name}.dat' index 0 using (caption = strcol(1), 1):(1) every ::0::0 with points
unset table
set title caption noenhanced offset 0, -0.4 textcolor rgb '{ink}'
set border 3 linecolor rgb '{ink}' lw 0.8
set tics nomirror out scale 0.7, 0.4 textcolor rgb '{ink}'
set xlabel textcolor rgb '{ink}' offset 0, 0.3
set ylabel textcolor rgb '{ink}' offset 0.5, 0
set grid xtics ytics back lt 1 lc rgb '#e4e4e4' lw 0.8, lt 1 lc rgb '#e4e4e4' lw 0.8
set key bmargin center horizontal Left reverse noenhanced samplen 2 width 1 maxcols {columns} \
  textcolor rgb '{ink}'
set errorbars small
set style line 1 lw 1.6
{axes}set pointsize 0.85
set terminal svg size {width}, {height} dynamic noenhanced font 'Helvetica,12' linewidth 1.3
set output '{name}.svg'
plot {sample}{curves}
set pointsize 0.4
set terminal pdfcairo size 3.4in, {inches}in noenhanced font 'Helvetica,7' linewidth 1
set output '{name}.pdf'
replot
unset output
)",
      fmt::arg("name", figure.name), fmt::arg("ink", kInk), fmt::arg("columns", columns),
      fmt::arg("axes", figure.axes), fmt::arg("width", kWidth), fmt::arg("height", height),
      // gnuplot takes the word `sample` only before a range.
      fmt::arg("sample", figure.curves.starts_with('[') ? "sample " : ""),
      fmt::arg("curves", figure.curves), fmt::arg("inches", exact(3.4 * height / kWidth)));
}

// A folder beside the plots in which a figure is drawn before its files are renamed into place.
class DrawingFolder {
 public:
  explicit DrawingFolder(const std::string& folder)
      : plots_(folder + "/plots"), path_(fmt::format("{}/.drawing-{}", plots_, ::getpid())) {
    std::error_code error;
    fs::create_directories(path_, error);
    if (error) throw CreateError(fmt::format("{}: cannot create: {}", path_, error.message()));
  }
  ~DrawingFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  DrawingFolder(const DrawingFolder&) = delete;
  DrawingFolder& operator=(const DrawingFolder&) = delete;

  const std::string& path() const { return path_; }
  void publish(const std::string& name) const {
    std::error_code error;
    fs::rename(path_ + "/" + name, plots_ + "/" + name, error);
    if (error) {
      throw IoError(fmt::format("{}/{}: cannot write: {}", plots_, name, error.message()));
    }
  }

 private:
  std::string plots_, path_;
};

Plot draw(Figure figure, const DrawingFolder& folder) {
  const std::string path = folder.path() + "/" + figure.name;
  write_text(path + ".dat", figure.data);
  write_text(path + ".gp", script(figure));
  run_gnuplot(folder.path(), figure.name + ".gp");
  figure.plot.svg =
      inline_svg(read_text(path + ".svg", kMaxSvg), figure.name + "-", figure.plot.caption);
  for (const char* ending : {".dat", ".gp", ".svg", ".pdf"}) folder.publish(figure.name + ending);
  return std::move(figure.plot);
}

}  // namespace

std::vector<Plot> draw_plots(const std::vector<Block>& blocks, const std::string& folder) {
  const DrawingFolder drawing(folder);
  std::vector<Plot> plots;
  for (size_t n = 0; n < blocks.size(); ++n) {
    const std::string number = blocks.size() == 1 ? "" : fmt::format("-{}", n + 1);
    for (const auto& [kind, name] :
         {std::pair(Plot::Kind::time, "time"), std::pair(Plot::Kind::workspace, "workspace"),
          std::pair(Plot::Kind::error, "error")}) {
      Figure figure = make_figure(blocks[n], kind, name + number);
      if (figure.curves.empty()) continue;
      figure.plot.block = n;
      plots.push_back(draw(std::move(figure), drawing));
    }
  }
  return plots;
}

}  // namespace longattn

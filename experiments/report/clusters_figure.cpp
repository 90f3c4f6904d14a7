#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "core/error.h"
#include "core/io/file.h"
#include "experiments/report/axes.h"
#include "experiments/report/clusters.h"
#include "experiments/report/gnuplot.h"
#include "experiments/report/looks.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;

struct Curve {
  std::string label;
  std::vector<const ClusterOutlook*> points;
};

std::vector<Curve> curves_of(const std::vector<ClusterOutlook>& outlooks) {
  std::vector<Curve> curves;
  for (const ClusterOutlook& o : outlooks) {
    if (!o.unsupported.empty()) continue;
    const Index length = o.problem->key_len;
    const std::string tokens =
        length % 1000000 == 0 ? fmt::format("{}M", length / 1000000) : short_length(length);
    const std::string label =
        data_text(fmt::format("{} tokens, {}: {}", tokens, o.cluster->name, o.setting));
    auto at = std::ranges::find(curves, label, &Curve::label);
    if (at == curves.end()) at = curves.insert(curves.end(), {label, {}});
    at->points.push_back(&o);
  }
  return curves;
}

// Where people break time: not by tens.
std::string time_tics(double low, double high) {
  std::vector<std::string> tics;
  for (const auto& [text, seconds] :
       std::initializer_list<std::pair<const char*, double>>{{"1 µs", 1e-6},
                                                             {"10 µs", 1e-5},
                                                             {"100 µs", 1e-4},
                                                             {"1 ms", 1e-3},
                                                             {"10 ms", 1e-2},
                                                             {"100 ms", 0.1},
                                                             {"1 s", 1},
                                                             {"10 s", 10},
                                                             {"1 min", 60},
                                                             {"10 min", 600},
                                                             {"1 h", 3600},
                                                             {"10 h", 36000},
                                                             {"4 d", 345600},
                                                             {"40 d", 3456e3},
                                                             {"1 y", 31.6e6},
                                                             {"10 y", 316e6},
                                                             {"100 y", 316e7},
                                                             {"1000 y", 316e8}}) {
    if (seconds >= low && seconds <= high) {
      tics.push_back(fmt::format("\"{}\" {}", text, exact(seconds)));
    }
  }
  return fmt::format("({})", fmt::join(tics, ", "));
}

// One column of ranks, seconds, and seconds where the marker is open, a curve; empty lines between.
std::string data_of(const std::vector<Curve>& curves) {
  std::string data = "label\tranks\ttotal_s\topen_s\n";
  for (const Curve& curve : curves) {
    for (const ClusterOutlook* o : curve.points) {
      data += fmt::format("\"{}\"\t{}\t{}\t{}\n", curve.label, o->ranks, exact(o->forecast.total),
                          o->compute_bound() ? "NaN" : exact(o->forecast.total));
    }
    data += "\n\n";
  }
  return data;
}

std::string script_of(const std::vector<Curve>& curves, const std::string& ending) {
  Range seconds;
  std::vector<Index> counts;
  for (const Curve& curve : curves) {
    for (const ClusterOutlook* o : curve.points) {
      seconds.add(o->forecast.total);
      counts.push_back(o->ranks);
    }
  }
  std::ranges::sort(counts);
  counts.erase(std::unique(counts.begin(), counts.end()), counts.end());
  const double low = seconds.low() / 2, high = seconds.high() * 2;
  const Axis x = length_axis(counts);
  const int height = 430 + 20 * static_cast<int>(curves.size());
  std::string plots;
  for (size_t n = 0; n < curves.size(); ++n) {
    const Look curve = look(n, n / kHues);
    plots += fmt::format(
        "{}'clusters.tsv' index {} using 2:3 with linespoints pt {} lc rgb '{}' title "
        "label[{}], '' index {} using 2:4 with points pt {} lc rgb 'white' notitle, '' index {} "
        "using 2:4 with points pt {} lc rgb '{}' notitle",
        n == 0 ? "" : ", \\\n  ", n, curve.marker, curve.colour, n + 1, n, curve.marker, n,
        curve.open, curve.colour);
  }
  const std::string terminal =
      ending == ".svg"
          ? fmt::format("svg size 720, {} dynamic noenhanced font 'Helvetica,13'", height)
          : fmt::format("pdfcairo size 7.2in, {:.2f}in noenhanced font 'Helvetica,10'",
                        height / 100.0);
  return fmt::format(
      R"(reset session
set encoding utf8
set datafile separator "	"
set datafile commentschars ""
array label[{count}]
set table $unused
do for [n=1:{count}] {{ plot 'clusters.tsv' index n-1 every ::(n == 1 ? 1 : 0)::(n == 1 ? 1 : 0) using (label[n] = strcol(1), 0):(0) with points }}
unset table
set border 3 lc rgb '{ink}'
set tics nomirror out textcolor rgb '{ink}'
set grid lc rgb '#e4e4e4'
set logscale xy
set xrange [{xlow}:{xhigh}]
set yrange [{low}:{high}]
set xtics {xtics}
set ytics {ytics}
set xlabel 'ranks' textcolor rgb '{ink}'
set ylabel 'one forward pass, predicted; open: communication-bound' textcolor rgb '{ink}'
set key below vertical maxcols 1 Left reverse noenhanced textcolor rgb '{ink}'
set terminal {terminal}
set output 'clusters{ending}'
plot {plots}
unset output
)",
      fmt::arg("count", curves.size()), fmt::arg("ink", kInk), fmt::arg("xlow", exact(x.low)),
      fmt::arg("xhigh", exact(x.high)), fmt::arg("low", exact(low)), fmt::arg("high", exact(high)),
      fmt::arg("xtics", x.tics), fmt::arg("ytics", time_tics(low, high)),
      fmt::arg("terminal", terminal), fmt::arg("ending", ending), fmt::arg("plots", plots));
}

}  // namespace

void require_plot_name(const std::string& path) {
  const std::string ending = fs::path(path).extension().string();
  if (ending != ".svg" && ending != ".pdf") {
    throw OptionError(fmt::format("{}: a plot ends in .svg or .pdf", path));
  }
}

void draw_clusters(const std::vector<ClusterOutlook>& outlooks, const std::string& path) {
  require_plot_name(path);
  const std::vector<Curve> curves = curves_of(outlooks);
  if (curves.empty()) {
    throw OptionError(fmt::format("{}: there is no ring on a cluster to draw", path));
  }
  const fs::path target(path);
  const std::string ending = target.extension().string();
  const DrawingFolder folder(target.has_parent_path() ? target.parent_path().string() : ".");
  write_text(folder.path() + "/clusters.tsv", data_of(curves));
  write_text(folder.path() + "/clusters.gp", script_of(curves, ending));
  run_gnuplot(folder.path(), "clusters.gp");
  folder.publish("clusters" + ending, target.filename().string());
}

}  // namespace longattn

#include "experiments/report/tags.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "experiments/report/plots.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

constexpr double kLine = 15;  // pixels of a line of text

std::string number_at(const Tag& tag, double x, double y, const char* align) {
  return fmt::format("set label '{}' at graph {:.4f}, graph {:.4f} {} front textcolor rgb '{}'\n",
                     tag.number, x, y, align, kInk);
}

std::string line_between(const Tag& tag, double x, double y) {
  return fmt::format(
      "set arrow from graph {:.4f}, graph {:.4f} to graph {:.4f}, graph {:.4f} nohead lw 0.5 lc "
      "rgb "
      "'{}'\n",
      tag.x, tag.y, x, y, tag.colour);
}

// Pixels between centres below which two things cover each other.
bool apart(double x, double y, double across, double down) {
  return std::abs(x) >= across || std::abs(y) >= down;
}

// Whether a number centred here leaves a point and its error bars uncovered.
bool clear_of(const Tag& tag, double x, double y) {
  const double point_x = tag.x * kPlotWidth, point_y = tag.y * kPlotHeight;
  const bool beside_bar = std::abs(y - point_y) >= 9 || x < tag.left * kPlotWidth - 10 ||
                          x > tag.right * kPlotWidth + 10;
  const bool beside_upright = std::abs(x - point_x) >= 10 || y < tag.low * kPlotHeight - 9 ||
                              y > tag.high * kPlotHeight + 9;
  return beside_bar && beside_upright && apart(x - point_x, y - point_y, 13, 12);
}

}  // namespace

std::vector<double> spread(const std::vector<double>& wanted, double gap) {
  std::vector<size_t> order(wanted.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t n) { return wanted[n]; });
  // Without the gaps before it each tag may stand level with the one before: isotonic regression,
  // by pooling neighbours that violate the order.
  struct Pool {
    double sum = 0, count = 0;
    double mean() const { return sum / count; }
  };
  std::vector<Pool> pools;
  for (size_t n = 0; n < order.size(); ++n) {
    pools.push_back({wanted[order[n]] - gap * static_cast<double>(n), 1});
    while (pools.size() > 1 && pools[pools.size() - 2].mean() >= pools.back().mean()) {
      const Pool last = pools.back();
      pools.pop_back();
      pools.back().sum += last.sum;
      pools.back().count += last.count;
    }
  }
  std::vector<double> places(wanted.size());
  size_t n = 0;
  for (const Pool& pool : pools) {
    for (double k = 0; k < pool.count; ++k, ++n) {
      places[order[n]] = pool.mean() + gap * static_cast<double>(n);
    }
  }
  return places;
}

std::string tags_at_the_edge(const std::vector<Tag>& tags) {
  std::vector<double> wanted;
  for (const Tag& tag : tags) wanted.push_back(-tag.y);  // downwards
  const double room = 1 / std::max(1.0, static_cast<double>(tags.size()) - 1);
  const double gap = std::min(kLine / kPlotHeight, room);
  std::vector<double> places = spread(wanted, gap);
  // As low as those below leave room for, and as high as those above.
  for (size_t n = 0; n < tags.size(); ++n) {
    const auto above = static_cast<double>(
        std::ranges::count_if(places, [&](double place) { return place < places[n]; }));
    const auto below = static_cast<double>(tags.size()) - 1 - above;
    wanted[n] = std::min(std::max(places[n], -1 + gap * above), -gap * below);
  }
  places = std::move(wanted);
  std::string script;
  for (size_t n = 0; n < tags.size(); ++n) {
    script += line_between(tags[n], 1.02, -places[n]);
    script += number_at(tags[n], 1.03, -places[n], "left");
  }
  return script;
}

std::string tags_at_points(const std::vector<Tag>& tags) {
  struct Place {
    double x, y;  // pixels
  };
  std::vector<Place> taken;
  std::string script;
  const auto is_free = [&](const Place& at) {
    const bool inside = at.x > 8 && at.x < kPlotWidth + 12 && at.y > 8 && at.y < kPlotHeight - 8;
    return inside &&
           std::ranges::all_of(tags, [&](const Tag& tag) { return clear_of(tag, at.x, at.y); }) &&
           std::ranges::all_of(taken, [&](const Place& other) {
             return apart(at.x - other.x, at.y - other.y, 18, kLine);
           });
  };
  for (const Tag& tag : tags) {
    const Place point{tag.x * kPlotWidth, tag.y * kPlotHeight};
    Place best{point.x + 13, point.y};
    bool found = false;
    double distance = 13;
    for (; !found && distance < 160; distance += 6) {
      for (int turn = 0; !found && turn < 16; ++turn) {  // from the right, both ways in turn
        const double angle = std::numbers::pi / 8 * (turn % 2 == 0 ? turn / 2 : -(turn + 1) / 2);
        const Place at{point.x + distance * std::cos(angle), point.y + distance * std::sin(angle)};
        if (!is_free(at)) continue;
        best = at;
        found = true;
      }
    }
    taken.push_back(best);
    const double x = best.x / kPlotWidth, y = best.y / kPlotHeight;
    if (std::hypot(best.x - point.x, best.y - point.y) > 20) {
      // Up to the text's edge, not into it.
      const double part = 1 - 8 / std::hypot(best.x - point.x, best.y - point.y);
      script += line_between(tag, std::lerp(tag.x, x, part), std::lerp(tag.y, y, part));
    }
    script += number_at(tag, x, y, "center");
  }
  return script;
}

}  // namespace longattn

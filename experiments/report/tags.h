#pragma once

#include <string>
#include <vector>

namespace longattn {

/// The number of a series beside what it names, joined to it by a line in its colour. Places are in
/// units of the plot's width and height, from its lower left corner.
struct Tag {
  size_t number = 0;
  std::string colour;
  double x = 0, y = 0;
  double left = 0, right = 0, low = 0, high = 0;  ///< how far its error bars reach
};

/// Where tags that want to stand at these places of a line go so that all are `gap` apart: each as
/// near to its own as the others let it, in the same order (least squares).
std::vector<double> spread(const std::vector<double>& wanted, double gap);

/// gnuplot settings for tags to the right of the plot, one below the other, each joined to the end
/// of its curve. Given from above; curves that end together keep this order.
std::string tags_at_the_edge(const std::vector<Tag>& tags);

/// gnuplot settings for tags beside their points, clear of the points and of each other.
std::string tags_at_points(const std::vector<Tag>& tags);

}  // namespace longattn

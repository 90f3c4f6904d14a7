#include "experiments/report/axes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <functional>

#include "experiments/report/text.h"

namespace longattn {
namespace {

Axis empty_or_around(const Range& range, double above) {
  Axis axis;
  if (!range.empty()) {
    axis.low = range.low() / 1.6;
    axis.high = range.high() * above;
  }
  return axis;
}

std::string list(const std::vector<std::string>& tics) {
  return fmt::format("({})", fmt::join(tics, ", "));
}

// The number nearest to n * 10^decade.
double nearest(int n, int decade) {
  const std::string text = fmt::format("{}e{}", n, decade);
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// Tics at powers of ten, with small ones between; within two decades also 2 and 5 are written.
void decimal_tics(Axis& axis, const std::function<std::string(double)>& label) {
  const int first = static_cast<int>(std::floor(std::log10(axis.low)));
  const int last = static_cast<int>(std::ceil(std::log10(axis.high)));
  const double decades = std::log10(axis.high / axis.low);
  const int step = decades > 8 ? 2 : 1;
  std::vector<std::string> tics;
  for (int decade = first; decade <= last; ++decade) {
    for (int n = 1; n < 10; ++n) {
      const double value = nearest(n, decade);
      if (value < axis.low || value > axis.high) continue;
      const bool written =
          n == 1 ? (decade - first) % step == 0 : decades < 2 && (n == 2 || n == 5);
      tics.push_back(written ? fmt::format("\"{}\" {}", label(value), exact(value))
                             : fmt::format("\"\" {} 1", exact(value)));
    }
  }
  axis.tics = list(tics);
}

std::string superscript(int number) {
  static constexpr std::array kDigits = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string text = number < 0 ? "⁻" : "";
  for (const char digit : std::to_string(std::abs(number))) {
    text += kDigits[static_cast<size_t>(digit - '0')];
  }
  return text;
}

std::string short_duration(double seconds) {
  if (seconds < 0.999e-6) return exact(std::round(seconds * 1e9)) + " ns";
  if (seconds < 0.999e-3) return exact(std::round(seconds * 1e6)) + " µs";
  if (seconds < 0.999) return exact(std::round(seconds * 1e3)) + " ms";
  return grouped(static_cast<Index>(std::round(seconds))) + " s";
}

std::string short_error(double error) {
  if (error >= 0.00999) return three_digits(error).substr(0, 4);
  const int exponent = static_cast<int>(std::floor(std::log10(error * 1.0001)));
  const int digit = static_cast<int>(std::round(error / std::pow(10, exponent)));
  return (digit == 1 ? "10" : fmt::format("{}·10", digit)) + superscript(exponent);
}

}  // namespace

void Range::add(double value) {
  if (!(value > 0) || !std::isfinite(value)) return;
  low_ = std::min(low_, value);
  high_ = std::max(high_, value);
}

Axis time_axis(const Range& seconds, double above) {
  Axis axis = empty_or_around(seconds, above);
  decimal_tics(axis, short_duration);
  return axis;
}

Axis count_axis(const Range& counts, double above) {
  Axis axis = empty_or_around(counts, above);
  decimal_tics(axis, [](double count) {
    return count < 1 ? exact(count) : grouped(static_cast<Index>(std::round(count)));
  });
  return axis;
}

Axis error_axis(const Range& errors, double above) {
  Axis axis = empty_or_around(errors, above);
  decimal_tics(axis, short_error);
  return axis;
}

Axis bytes_axis(const Range& count, double above) {
  Axis axis = empty_or_around(count, above);
  axis.low = std::max(axis.low, 0.5);
  const int first = static_cast<int>(std::ceil(std::log2(axis.low)));
  const int last = static_cast<int>(std::floor(std::log2(axis.high)));
  const int step = std::max(1, (last - first + 6) / 7);
  std::vector<std::string> tics;
  for (int power = first; power <= last; ++power) {
    const double value = std::exp2(power);
    std::string label = bytes(value);
    if (const size_t zeros = label.find(".0"); zeros != std::string::npos) {
      label.erase(zeros, label.find(' ') - zeros);
    }
    // Multiples of the step from 1 B on: 1 KiB and 1 MiB are among them when the step divides 10.
    if (power % step == 0) tics.push_back(fmt::format("\"{}\" {}", label, exact(value)));
  }
  axis.tics = list(tics);
  return axis;
}

Axis length_axis(const std::vector<Index>& lengths) {
  Axis axis;
  axis.low = static_cast<double>(lengths.front()) / 1.25;
  axis.high = static_cast<double>(lengths.back()) * 1.25;
  const double apart = std::log(axis.high / axis.low) / 9;  // written tics are further apart
  std::vector<std::string> tics;
  double last = 0;
  for (const Index length : lengths) {
    const auto value = static_cast<double>(length);
    const bool written = last == 0 || std::log(value / last) > apart;
    if (written) last = value;
    tics.push_back(fmt::format("\"{}\" {}", written ? short_length(length) : "", exact(value)));
  }
  axis.tics = list(tics);
  return axis;
}

}  // namespace longattn

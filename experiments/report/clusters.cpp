#include "experiments/report/clusters.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "experiments/report/layout.h"
#include "experiments/report/text.h"
#include "experiments/serialize.h"

namespace longattn {
namespace {

using nlohmann::json;

// As people say it, of passes that may take days.
std::string long_duration(double seconds) {
  if (seconds < 120) return duration(seconds);
  if (seconds < 7200) return three_digits(seconds / 60) + " min";
  if (seconds < 48 * 3600) return three_digits(seconds / 3600) + " h";
  return three_digits(seconds / 86400) + " d";
}

std::string tokens(Index length) {
  return length % 1000000 == 0 ? fmt::format("{}M", length / 1000000) : short_length(length);
}

std::string percent(double share) { return fmt::format("{:.1f}%", 100 * share); }

std::string probability(const std::optional<double>& value) {
  return value ? percent(*value) : "-";
}

std::string knee_text(const std::optional<double>& knee) {
  if (!knee) return "-";
  return *knee < 1e9 ? grouped(static_cast<Index>(*knee)) : "none";
}

constexpr auto kRow = "{:>8} {:>6} {:>9} {:>6} {:>7} {:>7} {:>10} {:>10} {:>8} {:>7} {:>7}  {}\n";

std::string row(const ClusterOutlook& o) {
  const std::string name = one_line(o.cluster->name);
  const std::string length = tokens(o.problem->key_len), ranks = grouped(o.ranks);
  if (!o.unsupported.empty()) {
    return fmt::format("{:>8} {:>6} {}: {}\n", length, ranks, name, one_line(o.unsupported));
  }
  return fmt::format(
      kRow, length, ranks, long_duration(o.forecast.total), percent(o.forecast.efficiency()),
      percent(o.forecast.exposed()), percent(o.overlap), bytes(o.memory_bytes), bytes(o.sent_bytes),
      knee_text(o.knee), o.extrapolation ? three_digits(*o.extrapolation) + "x" : "-",
      probability(o.failure_probability), name + ": " + o.setting);
}

// What bounds the pass, by figures alone.
std::string sentence(const ClusterOutlook& o) {
  const bool window = o.setting.find("window") != std::string::npos;  // not all of attention
  const auto& f = o.forecast;
  std::string text = fmt::format(
      "{}, {} ranks, {}: {}attention over {} tokens is {}: computing alone takes {}, exchanging "
      "alone {}; of the {} together the exchange costs {}, imbalance and waiting for work {}.",
      one_line(o.cluster->name), grouped(o.ranks), o.setting, window ? "" : "exact ",
      tokens(o.problem->key_len), o.compute_bound() ? "compute-bound" : "communication-bound",
      long_duration(f.computing), long_duration(f.exchange), long_duration(f.total),
      percent(f.exposed()), percent(std::max(0.0, 1 - f.efficiency() - f.exposed())));
  if (o.compute_bound() && !window) {
    text += fmt::format(" With a network that costs nothing it would still take {} a layer.",
                        long_duration(f.computing));
  }
  return text;
}

std::string wrapped(const std::string& text, size_t width) {
  std::string out, line = "-";
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    at = end + 1;
    if (display_width(line) + 1 + display_width(word) > width) {
      out += line + "\n";
      line = " ";
    }
    line += " " + word;
  }
  return out + line + "\n";
}

using Key = std::tuple<std::string, std::string, std::string>;

}  // namespace

std::string problem_line(const Problem& problem) {
  Cell cell;
  cell.problem = problem;
  const std::string text = problem_text(cell);
  return text.substr(0, text.rfind(", "));  // threads are the cluster's
}

std::string clusters_text(const std::vector<ClusterOutlook>& outlooks) {
  if (outlooks.empty()) return "";
  std::string text =
      "on clusters, one forward pass of one layer, by the model (nothing here was run there):\n";
  std::string block;
  std::vector<const ClusterOutlook*> last;  // of each cluster, problem and setting
  std::map<Key, size_t> known;
  for (const ClusterOutlook& o : outlooks) {
    const std::string title = problem_line(*o.problem);
    if (title != block) {
      text += fmt::format("\n{}\n", title);
      text += fmt::format(kRow, "length", "ranks", "time", "effic.", "exposed", "overlap",
                          "rank mem.", "rank sent", "knee", "extrap.", "P(fail)", "cluster");
      block = title;
    }
    text += row(o);
    if (!o.unsupported.empty()) continue;
    const auto [at, fresh] = known.try_emplace({title, o.cluster->name, o.setting}, last.size());
    if (fresh) last.push_back(&o);
    const ClusterOutlook& before = *last[at->second];
    if (std::tie(o.problem->key_len, o.ranks) >= std::tie(before.problem->key_len, before.ranks)) {
      last[at->second] = &o;
    }
  }
  text += "\n";
  for (const ClusterOutlook* o : last) text += wrapped(sentence(*o), 118);
  text +=
      "\n" +
      wrapped(fmt::format("Never measured: {}.", fmt::join(never_measured(outlooks), "; ")), 118);
  return text;
}

json clusters_json(const std::vector<ClusterOutlook>& outlooks) {
  json all = json::array();
  const auto or_null = [](const std::optional<double>& value) {
    return value && std::isfinite(*value) ? json(*value) : json(nullptr);
  };
  for (const ClusterOutlook& o : outlooks) {
    json one = {{"cluster", o.cluster->name}, {"ranks", o.ranks}, {"problem", to_json(*o.problem)}};
    if (!o.unsupported.empty()) {
      one["unsupported"] = o.unsupported;
      all.push_back(one);
      continue;
    }
    const auto& f = o.forecast;
    one.update({{"setting", o.setting},
                {"total_s", f.total},
                {"computing_s", f.computing},
                {"exchange_s", f.exchange},
                {"bound_s", f.bound},
                {"rank_compute_s", {std::ranges::min(f.compute), std::ranges::max(f.compute)}},
                {"rank_wait_s", {std::ranges::min(f.wait), std::ranges::max(f.wait)}},
                {"efficiency", f.efficiency()},
                {"exposed", f.exposed()},
                {"overlap", o.overlap},
                {"bound_by", o.compute_bound() ? "computing" : "exchange"},
                {"rank_memory_bytes", o.memory_bytes},
                {"rank_sent_bytes", o.sent_bytes},
                {"knee_ranks", or_null(o.knee)},
                {"extrapolation", or_null(o.extrapolation)},
                {"failure_probability", or_null(o.failure_probability)}});
    all.push_back(one);
  }
  return all;
}

}  // namespace longattn

#include "experiments/report/rehearsal.h"

#include <fmt/format.h>

#include <algorithm>

#include "experiments/judge/statistics.h"
#include "experiments/report/clusters.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

struct Spread {
  double median, least, most;
};
std::optional<Spread> spread_of(const std::vector<double>& seconds) {
  if (seconds.empty()) return std::nullopt;
  return Spread{median(seconds), std::ranges::min(seconds), std::ranges::max(seconds)};
}

}  // namespace

ResultTable rehearsal_table(const std::vector<Rehearsal>& all, bool with_measured) {
  ResultTable table;
  table.columns = {"cluster",
                   "transport",
                   "setting",
                   "ranks",
                   "length",
                   "num_heads",
                   "num_kv_heads",
                   "head_dim",
                   "causal",
                   "rate",
                   "overhead_s",
                   "latency_s",
                   "bandwidth",
                   "contention",
                   "predicted_s",
                   "predicted_computing_s",
                   "predicted_exchange_s",
                   "predicted_overlap"};
  if (with_measured) {
    for (const char* name : {"measured_s", "measured_least_s", "measured_most_s", "passes",
                             "measured_over_predicted", "late_steps", "steps", "failure"}) {
      table.columns.emplace_back(name);
    }
  }
  for (const Rehearsal& one : all) {
    const ClusterOutlook& o = one.outlook;
    const Problem& p = one.problem->problem;
    const Cluster& c = o.cluster->cluster;
    std::vector<Field> row = {o.cluster->name,     std::string(one.processes ? "mpi" : "thread"),
                              o.setting,           Index{o.ranks},
                              p.key_len,           p.num_heads,
                              p.num_kv_heads,      p.head_dim,
                              p.mask.causal,       c.rate,
                              c.overhead,          c.network.latency,
                              c.network.bandwidth, c.contention};
    if (o.unsupported.empty()) {
      row.insert(row.end(),
                 {o.forecast.total, o.forecast.computing, o.forecast.exchange, o.overlap});
    }
    row.resize(18);
    if (with_measured) {
      if (const auto measured = spread_of(one.seconds)) {
        row.insert(row.end(), {measured->median, measured->least, measured->most,
                               static_cast<Index>(one.seconds.size()),
                               measured->median / o.forecast.total, one.late_steps, one.steps});
      }
      row.resize(table.columns.size() - 1);
      row.emplace_back(one.failure);
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

std::string rehearsal_text(const std::vector<Rehearsal>& all) {
  constexpr auto kRow = "{:>8} {:>5} {:>9} {:>9} {:>9} {:>9} {:>8} {:>7}  {}\n";
  std::string text, block;
  for (const Rehearsal& one : all) {
    const ClusterOutlook& o = one.outlook;
    const std::string title = one_line(problem_line(one.problem->problem));
    if (title != block) {
      text += fmt::format("{}{}\n", block.empty() ? "" : "\n", title);
      text += fmt::format(kRow, "length", "ranks", "computing", "exchange", "predicted", "measured",
                          "spread", "off by", "cluster");
      block = title;
    }
    const bool known = o.unsupported.empty();
    const auto said = [&](double seconds) { return known ? duration(seconds) : "-"; };
    const auto measured = spread_of(one.seconds);
    text += fmt::format(
        kRow, grouped(one.problem->problem.key_len), o.ranks, said(o.forecast.computing),
        said(o.forecast.exchange), said(o.forecast.total),
        measured ? duration(measured->median) : "-",
        measured
            ? fmt::format("{:.0f}%", 100 * (measured->most - measured->least) / measured->median)
            : "-",
        measured ? fmt::format("{:+.1f}%", 100 * (measured->median / o.forecast.total - 1)) : "-",
        fmt::format("{}: {}{}", one_line(o.cluster->name), one.processes ? "over MPI, " : "",
                    o.setting));
    if (one.late_steps > 0) {
      text += fmt::format("{:>8} {} of {} steps took longer to compute than the rate says\n", "",
                          one.late_steps, one.steps);
    }
    if (!one.failure.empty()) text += fmt::format("{:>8} {}\n", "", one_line(one.failure));
  }
  return text;
}

}  // namespace longattn

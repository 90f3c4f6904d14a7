#include "tests/experiments/report_fixture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace longattn::testing {
namespace {

// How one variant behaves: seconds = fixed + linear n + quadratic n^2, and so on.
struct Behaviour {
  std::string variant;
  std::vector<std::pair<std::string, std::string>> options;
  double linear, quadratic;  // seconds
  double bytes_linear, bytes_quadratic;
  double error_trace, error_gaussian, mass;
  bool exact;
  double growth_time, growth_memory;
};

std::vector<Behaviour> behaviours() {
  return {
      {"full", {}, 1e-7, 8.4e-9, 0, 4, 0, 0, 1, true, 2, 2},
      {"blockwise",
       {{"query_block", "64"}, {"key_block", "256"}},
       2e-7,
       5.2e-9,
       0,
       0,
       0,
       0,
       1,
       true,
       2,
       0},
      {"longformer",
       {{"window", "64"}, {"dilation", "1"}},
       1.4e-6,
       0,
       12,
       0,
       0.312,
       0.874,
       0.83,
       false,
       1,
       1},
      {"longformer",
       {{"window", "256"}, {"dilation", "1"}},
       4.3e-6,
       0,
       12,
       0,
       0.118,
       1.204,
       0.94,
       false,
       1,
       1},
      {"mean_value", {}, 1.1e-7, 0, 0.5, 0, 0.744, 0.981, 1, false, 1, 0},
      {"zero", {}, 9e-9, 0, 0, 0, 1, 1, 0, false, 1, 0},
  };
}

Estimate around(double value, double part) {
  return {value, value * (1 - part), value * (1 + 1.1 * part)};
}

void add_errors(const Behaviour& behaviour, bool trace, double n, CellResult& result) {
  const double base = trace ? behaviour.error_trace : behaviour.error_gaussian;
  const double error = behaviour.variant == "zero" ? base : base * std::pow(n / 8192, 0.08);
  result.sampled_rows = 256;
  result.implementation_ratio = behaviour.exact ? 0.0625 : 0.03125;
  result.gate_resolution = 2.5e-5;
  result.relative_error = behaviour.variant == "zero" ? Estimate{1, 1, 1} : around(error, 0.04);
  result.relative_error_floor = 1.9e-7;
  result.row_error_median = around(error * 0.9, 0.03);
  result.row_error_worst = error * 2.6;
  result.max_abs_error = error * 1.4;
  for (int head = 0; head < 8; ++head)
    result.head_errors.push_back(around(error * (1 + head), 0.1));
  if (behaviour.variant != "zero") {
    result.captured_mass = Estimate{behaviour.mass, behaviour.mass * 0.99, behaviour.mass};
  }
}

CellResult make_cell(const Behaviour& behaviour, const std::string& input, Index length) {
  const bool trace = input == "kjv";
  const auto n = static_cast<double>(length);
  CellResult result;
  result.cell.input.label = input;
  if (!trace) result.cell.input.generator = "gaussian";
  result.cell.variant = behaviour.variant;
  result.cell.options = behaviour.options;
  result.cell.problem.query_len = result.cell.problem.key_len = length;
  result.cell.problem.mask.causal = true;
  result.cell.threads = 2;
  const double time = 2e-6 + behaviour.linear * n + behaviour.quadratic * n * n;
  result.round_seconds = {time, time * 1.01, time * 0.99};
  result.time_s = around(time, 0.012);
  result.workspace_bytes = behaviour.variant == "blockwise"
                               ? 655360
                               : behaviour.bytes_linear * n + behaviour.bytes_quadratic * n * n;
  result.workspace_predicted_bytes = result.workspace_bytes;
  result.heap_peak_bytes = *result.workspace_bytes + 2048;
  result.rss_peak_bytes = *result.workspace_bytes + (4 << 20);
  result.flops = 256 * n * n;
  const bool window = behaviour.variant == "longformer";
  result.scored_pairs = window ? 8 * n * std::stod(behaviour.options[0].second) : 8 * n * n / 2;
  if (behaviour.variant == "zero") result.scored_pairs = 0;
  result.declared_exact = behaviour.exact;
  result.causal_sees_future = 0;
  result.growth_time = behaviour.growth_time;
  result.growth_memory = behaviour.growth_memory;
  add_errors(behaviour, trace, n, result);
  return result;
}

void fail(CellResult& result, Status status, const std::string& reason) {
  result.status = status;
  result.reason = reason;
  result.round_seconds.clear();
  result.time_s.reset();
  if (status == Status::nonconforming) return;
  CellResult empty;
  empty.cell = result.cell;
  empty.status = status;
  empty.reason = reason;
  empty.workspace_predicted_bytes = result.workspace_predicted_bytes;
  result = empty;
}

}  // namespace

PatternPicture picture_of(const CellResult& result, Index size) {
  PatternPicture picture;
  picture.cell_id = result.cell.id;
  picture.title = fmt::format("{} {}, {} tokens", result.cell.variant, result.cell.input.label,
                              result.cell.problem.key_len);
  picture.rows = picture.columns = size;
  const bool local = result.cell.variant == "longformer",
             mean = result.cell.variant == "mean_value";
  for (Index i = 0; i < size; ++i) {
    std::vector<double> row(static_cast<size_t>(size), 0.0);
    double sum = 0;
    for (Index j = 0; j <= i && result.cell.variant != "zero"; ++j) {
      if (local && i - j > size / 10) continue;
      const auto distance = static_cast<double>(i - j);
      // Looks random, and is the same on every machine: a sink, a diagonal, and texture.
      const double texture = static_cast<double>((i * 7919 + j * 104729) % 97) / 97;
      const double mass = mean ? 1 : std::exp(-distance / 6) + (j == 0 ? 0.6 : 0) + 0.02 * texture;
      row[static_cast<size_t>(j)] = mass;
      sum += mass;
    }
    for (const double mass : row) {
      picture.mass.push_back(sum > 0 ? static_cast<float>(mass / sum) : 0.0F);
    }
  }
  return picture;
}

RunResults realistic_results() {
  RunResults results;
  results.experiment = "quickstart";
  results.folder = "results/quickstart/20240607T101502Z-3f9a";
  results.command = "longattn run configs/quickstart.yaml";
  results.config_text =
      "experiment: quickstart\ninputs:\n  - trace: configs/traces/kjv.safetensors\n";
  results.time_limit_s = 60;
  results.memory_limit_bytes = 200 << 20;
  results.provenance = {{"version", "longattn 0.1.0"},
                        {"compiler", "g++ 12.2.0, Release"},
                        {"processor", "Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz, 2 threads"},
                        {"system", "Linux 6.1.0, Debian GNU/Linux 12 (bookworm)"},
                        {"kernels", "AVX3"},
                        {"started", "2024-06-07T10:15:02Z"}};
  for (const char* input : {"kjv", "gaussian"}) {
    for (const Behaviour& behaviour : behaviours()) {
      for (const Index length : {1024, 2048, 4096, 8192}) {
        CellResult result = make_cell(behaviour, input, length);
        result.cell.id = fmt::format("{:016x}", 0x9c41d00dULL + results.cells.size());
        results.cells.push_back(result);
      }
    }
  }
  fail(results.cells[27], Status::oom, "needed 256.0 MiB beside the inputs, the limit is 200 MiB");
  fail(results.cells[31], Status::timeout, "ended after 60 s");
  fail(results.cells[35], Status::unsupported,
       "longformer: window 64 needs an even number of heads");
  fail(results.cells[39], Status::nonconforming,
       "forward differs from its definition by 12.5 times the tolerance at batch 0, head 3, query "
       "17");
  results.cells[39].implementation_ratio = 12.5;
  for (size_t n = 3; n < 24; n += 4) {
    results.patterns.push_back(picture_of(results.cells[n], 64));
  }
  return results;
}

RunResults large_results() {
  RunResults results = realistic_results();
  results.cells.clear();
  results.patterns.clear();
  for (const char* input : {"kjv", "gaussian"}) {
    for (Index setting = 0; setting < 30; ++setting) {
      auto behaviour = behaviours()[static_cast<size_t>(setting) % 6];
      if (setting >= 6) behaviour.options.emplace_back("seed", std::to_string(setting));
      for (const Index length : {512, 1024, 2048, 4096, 8192}) {
        CellResult result = make_cell(behaviour, input, length);
        result.cell.id = fmt::format("{:016x}", 0x9c41d00dULL + results.cells.size());
        results.cells.push_back(result);
        if (length == 512) results.patterns.push_back(picture_of(result, 96));
      }
    }
  }
  return results;
}

RunResults many_results(Index inputs, Index settings, Index lengths) {
  RunResults results = realistic_results();
  results.cells.clear();
  results.patterns.clear();
  for (Index input = 0; input < inputs; ++input) {
    const std::string label = fmt::format("gaussian-{}", input + 1);
    for (Index setting = 0; setting < settings; ++setting) {
      Behaviour behaviour = behaviours()[static_cast<size_t>(setting) % 6];
      if (setting >= 6) behaviour.options.emplace_back("seed", std::to_string(setting));
      for (Index n = 0; n < lengths; ++n) {
        CellResult result = make_cell(behaviour, label, 64 + n);
        result.cell.id = fmt::format("{:016x}", 0x9c41d00dULL + results.cells.size());
        if (setting == 0) {
          InputResult measured;
          measured.cell_id = result.cell.id;
          measured.sampled_rows = 256;
          measured.row_entropy = around(4.2, 0.01);
          measured.score_deviation = around(1, 0.01);
          results.inputs.push_back(measured);
        }
        if (n == 0) results.patterns.push_back(picture_of(result, 16));
        results.cells.push_back(std::move(result));
      }
    }
  }
  return results;
}

RunResults hostile_results() {
  RunResults results = realistic_results();
  results.experiment = kHostile[0];
  results.folder = kHostile[3];
  results.command = "longattn run '" + kHostile[1] + "' " + kHostile[0];
  results.config_text = kHostile[0] + "\n" + kHostile[1] + "\n" + kHostile[2] + kHostile[5];
  for (const std::string& text : kHostile) results.provenance.emplace_back(text, text);
  for (size_t n = 0; n < results.cells.size(); ++n) {
    CellResult& result = results.cells[n];
    result.cell.input.label = kHostile[n < 24 ? 0 : 3];
    if (!result.reason.empty()) result.reason = kHostile[n % kHostile.size()] + kHostile[0];
    if (result.cell.variant == "longformer") {
      const size_t which = result.cell.options[0].second == "64" ? 1 : 4;
      result.cell.options[0].second = kHostile[which];
      result.cell.options.emplace_back(kHostile[5], kHostile[2]);
    }
    if (result.cell.variant == "mean_value") result.cell.remark = kHostile[6] + kHostile[7];
    if (result.status != Status::ok) result.log = kHostile[0] + "\n" + kHostile[2] + kHostile[6];
    if (result.cell.variant == "blockwise") result.cell.variant = kHostile[4];
    if (result.cell.variant == "zero") result.cell.variant = kHostile[0] + kHostile[2];
  }
  for (size_t n = 0; n < results.patterns.size(); ++n) {
    results.patterns[n].title = kHostile[n % kHostile.size()];
  }
  return results;
}

}  // namespace longattn::testing

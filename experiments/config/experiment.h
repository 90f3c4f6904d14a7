#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/variant.h"
#include "experiments/cell.h"
#include "experiments/config/diagnostics.h"
#include "variants/ring/ring_model.h"

namespace longattn {

/// A variant with one setting of its options.
struct VariantRequest {
  const Variant* variant = nullptr;
  Options options;
};

/// What is measured of each cell.
struct Measure {
  Index rounds = 9;          ///< of timing, each in a process of its own
  double min_time_s = 0.02;  ///< of repeated calls per round
  double max_time_s = 0;     ///< of all timing rounds of a cell; then no more after three; 0: none
  Index error_rows = 256;    ///< sampled query rows
  double error_budget = 0.01;  ///< relative error; the report looks for the cheapest way to it
  Index seeds = 5;             ///< of variants that draw at random, for the spread of their error
  bool time = true, memory = true, error = true, patterns = true;
};

/// Limits of one worker process, and of the whole experiment.
struct Limits {
  double time_s = 60;
  double memory_bytes = 8.0 * (Index{1} << 30);
  Index max_cells = 10000;
  double patience_s = 30;  ///< of ranks that are processes (variants/ring/ring_pass.h)
};

/// One input at one length.
struct ProblemRequest {
  InputSpec input;
  Problem problem;
};

/// One combination, by indices into an Experiment.
struct CellRequest {
  size_t problem, variant;
  int threads;
};

/// Machines that are not here, for which rings are predicted.
struct ClusterRequest {
  std::string name;
  std::vector<int> ranks;  ///< ascending; each is predicted
  Cluster cluster{};       ///< but for slowness, which depends on the ranks
  int depth = RingSettings{}.depth;
  int slow_ranks = 0;                   ///< so many, evenly apart,
  double slow_factor = 1;               ///< take so many times as long to compute
  std::optional<double> mtbf_s{};       ///< mean time between failures of a host
  std::optional<int> measured_ranks{};  ///< most on which the figures were measured

  Cluster of(int ranks) const;
};

/// A config, checked and resolved.
struct Experiment {
  std::string name, description;
  std::string path, text;  ///< the file, and what it says (ConfigDocument::text)
  std::vector<ProblemRequest> problems;
  std::vector<VariantRequest> variants;
  std::vector<int> threads;
  std::vector<CellRequest> cells;  ///< in the order problem, variant, threads
  Measure measure;
  Limits limits;
  std::vector<ClusterRequest> clusters;
  std::string launcher = "mpirun -n {ranks}";  ///< of cells whose ranks are processes
  std::uint64_t seed = 1;                      ///< of row sampling and of the order of rounds
};

/// Reads and checks a config file, on which `overrides` (key=value) are put as read_document says.
/// Throws IoError when it cannot be read and ConfigError when it is wrong: every unknown key, wrong
/// type, value out of range and impossible combination, each with file:line:column, the source line
/// and a caret.
Experiment read_experiment(const std::string& path, std::span<const Variant* const> variants,
                           std::span<const std::string> overrides = {});

}  // namespace longattn

#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/types.h"

namespace longattn {

/// Where queries, keys and values come from: a generator (experiments/inputs/generator.h), or a
/// trace.
struct InputSpec {
  std::string label;      ///< unique within an experiment, shown in tables: "gaussian", "kjv"
  std::string generator;  ///< its name; empty: a trace
  std::vector<std::pair<std::string, std::string>> options;  ///< of the generator: canonical text
  std::string path;  ///< trace: a .safetensors file, absolute or relative to the working dir
  Index layer = 0;   ///< trace

  bool is_trace() const { return generator.empty(); }
};

/// One measurement to make: a variant with its options on one input at one Problem. Plain data: it
/// can be written, read back and reported without the variant or the input at hand.
struct Cell {
  std::string id;  ///< 16 hexadecimal digits: hash of all that determines the numbers
  InputSpec input;
  std::string input_hash;  ///< of the tensors' bytes
  std::string variant;
  std::vector<std::pair<std::string, std::string>> options;  ///< all of them, canonical text
  std::string remark;  ///< of the variant on its options: "untrained"; mostly empty
  Problem problem;
  int threads = 1;
};

enum class Status { ok, oom, timeout, crash, nan, unsupported, skipped, nonconforming };
std::string_view to_string(Status status);
std::optional<Status> status_from_string(std::string_view name);

/// A figure with its 95 % interval; low == high == value where it is exact.
struct Estimate {
  double value = 0, low = 0, high = 0;
};

/// Tokens on each side within which the mass of a head is told.
inline constexpr std::array<Index, 5> kMassWindows = {16, 64, 256, 1024, 4096};

/// What one query head does in full attention, over its sampled rows in all batch entries;
/// formulas: judge/inputs.h.
struct HeadMeasures {
  Index sampled_rows = 0;
  std::optional<double> row_entropy;        ///< nats, mean over rows
  std::optional<double> first_tokens_mass;  ///< on the first four tokens, mean over rows
  std::optional<double> effective_rank;     ///< of the scores, mean over batch entries
  std::optional<double> window_99;  ///< tokens on each side that hold 99 % of the mean row's mass
  std::vector<double> window_mass;  ///< mean over rows, within each of kMassWindows; or empty
};

/// Everything learnt about one cell. What was not measured is empty, never zero.
struct CellResult {
  Cell cell;
  Status status = Status::ok;
  std::string reason;  ///< one sentence; empty when ok
  std::string log;     ///< end of what the failed worker said, several lines; mostly empty

  // Time of one forward pass: one median per round; estimate over rounds.
  std::vector<double> round_seconds;
  std::optional<Estimate> time_s;
  /// Fewer rounds than asked for: measure.max_time or the end of the run cut them.
  bool few_rounds = false;
  Index rounds_asked = 0;
  /// Rounds whose threads were ready to run but waited for a processor for more than 5 % of the
  /// time: something else was running.
  Index disturbed_rounds = 0;

  // Memory beside inputs and outputs.
  std::optional<double> workspace_bytes;            ///< counted
  std::optional<double> workspace_predicted_bytes;  ///< Cost::workspace_bytes
  std::optional<double> heap_peak_bytes;            ///< malloc interposition, during forward
  std::optional<double> rss_peak_bytes;             ///< VmHWM growth during forward; floor ~4 MiB

  /// Of the bits of the output, equal for every pass; differing ones set `nondeterministic`.
  std::string output_hash;
  bool nondeterministic = false;

  // Predicted.
  std::optional<double> flops, scored_pairs;
  std::vector<PlanFigure> figures;

  std::vector<PlanFigure> measured;  ///< of ranks that are processes; by the last round

  // Errors on sampled query rows over all heads and batch entries; formulas: judge/errors.h.
  Index sampled_rows = 0;
  std::optional<double> implementation_ratio;  ///< worst |forward - W V| / tolerance; <= 1 conforms
  std::optional<double> gate_resolution;       ///< worst row |tolerance| / |output|
  std::optional<Estimate> relative_error;      ///< ||W V - full||_F / ||full||_F
  std::optional<Estimate> own_relative_error;  ///< against full attention over keys that the
                                               ///< variant makes for itself; mostly empty
  std::optional<double> relative_error_floor;  ///< the same for plain float32 full attention
  std::optional<double> mean_value_error;      ///< the same for the mean of the visible values
  std::optional<double> oracle_error;          ///< for the best choice of as many keys per row, or
                                               ///< the nearest weights of the same rank
  std::vector<Estimate> head_errors;           ///< relative_error of each query head alone; empty:
                                               ///< too few of its rows are sampled
  std::optional<Estimate> row_error_median;    ///< median over rows of ||row - full|| / ||full||
  std::optional<double> row_error_worst;       ///< worst random row
  std::optional<double> row_error_pinned;      ///< worst of the first and last queries
  std::optional<double> max_abs_error;         ///< largest |element difference|
  std::optional<Estimate> captured_mass;       ///< mean full-attention mass on weighed keys
  std::optional<double> value_contrast;        ///< relative error per root-mean-square lost mass
  std::optional<double> total_variation;       ///< mean over rows that weigh a key
  std::optional<double> kl_divergence;         ///< of the variant from full attention, nats, mean
  std::optional<double> top_recall;            ///< share of the heaviest keys that get a weight
  std::optional<double> row_entropy;           ///< of full attention, nats, mean over rows
  std::optional<double> uncovered_rows;        ///< sampled rows that see keys and weigh none
  std::optional<double> causal_sees_future;    ///< 1 if it chooses keys by looking at the future

  // Randomised variants: relative_error over seeds, and what the mean over seeds does not undo.
  std::optional<double> seeds, seed_error_mean, seed_error_worst, seed_bias, seed_spread;

  bool declared_exact = false;
  std::optional<double> growth_time, growth_memory;  ///< declared exponents
};

/// What full attention does on one input, over sampled query rows, and what was asked of it.
struct InputResult {
  std::string cell_id;  ///< a cell with this input and Problem
  Index sampled_rows = 0;
  std::optional<Estimate> score_deviation;     ///< standard deviation of a row's scaled scores
  std::optional<Estimate> row_entropy;         ///< of a row's weights, in nats
  std::optional<double> uniform_entropy;       ///< of rows that weigh all visible keys alike
  std::optional<Estimate> half_mass_distance;  ///< tokens within which half of a row's mass lies
  std::optional<Estimate> first_tokens_mass;   ///< on the first four tokens
  std::optional<double> effective_rank;        ///< of the scores
  std::optional<Estimate> planted_mass;        ///< on the keys that a generator planted
  std::string planted;                         ///< what those are called: "needles"
  std::string target;                          ///< name of one of these figures, or empty
  std::optional<double> asked;                 ///< its value, by the generator's options
  std::vector<HeadMeasures> heads;             ///< of each query head
};

/// Which machine, build and configuration made the results. Name and value, in reading order.
using Provenance = std::vector<std::pair<std::string, std::string>>;

/// The attention pattern of one variant: |weights| of one head, binned to a small square.
struct PatternPicture {
  std::string cell_id, title;  ///< title: "longformer window=64", plain text
  Index rows = 0, columns = 0;
  std::vector<float> mass;  ///< row-major [rows, columns]; each row sums to at most 1
};

/// All that a report is made of.
struct RunResults {
  std::string experiment;  ///< its name
  std::string folder;      ///< where the run was written
  std::string command;     ///< that repeats it
  std::string config_text;
  Provenance provenance;
  std::optional<double> time_limit_s, memory_limit_bytes;  ///< of each measurement
  Index rounds = 0;                                        ///< of timing, asked for of every cell
  double error_budget = 0.01;                              ///< measure.error_budget
  std::vector<CellResult> cells;                           ///< in plan order
  std::vector<InputResult> inputs;
  std::vector<PatternPicture> patterns;

  /// The cell of that id, or nullptr.
  const CellResult* find(const std::string& id) const;

 private:
  mutable std::unordered_map<std::string, size_t> places_;  // as last seen; find() mends it
};

/// "ok", "timeout"; "ok, few_rounds 3/9, nondeterministic": the status and what must be known of
/// it.
std::string status_text(const CellResult& result);

/// "longformer window=64": the variant, and those options in which the cells of it that were added
/// differ. A remark stands before the name, where no table cuts it off: "untrained linformer".
class ShortLabels {
 public:
  ShortLabels() = default;
  explicit ShortLabels(const std::vector<CellResult>& cells);
  void add(const Cell& cell);
  std::string of(const Cell& cell) const;

 private:
  struct Variant {
    Index cells = 0;
    std::map<std::pair<std::string, std::string>, Index> with;  // how many have an option
  };
  std::map<std::string, Variant> variants_;
};

}  // namespace longattn

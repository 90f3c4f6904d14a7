#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/variant.h"
#include "experiments/inputs/generators.h"

namespace longattn::benchmarks {

/// What one pass of a subject does.
struct Work {
  double flops = 0;
  double scored_pairs = 0;
  double bytes_read = 0;  ///< set where memory is the limit: then its rate is shown as a share too
};

/// Something to time, ready to run.
class Subject {
 public:
  virtual ~Subject() = default;
  virtual Work work() const = 0;
  virtual void prepare() {}           ///< before every repetition, untimed
  virtual double run() = 0;           ///< one pass; returns its seconds
  virtual std::string refusal() = 0;  ///< runs a pass; why it must not be timed, or empty
  virtual double workspace_bytes() const { return 0; }  ///< of the passes run so far; 0: unknown
  virtual std::string label() const { return ""; }      ///< a remark for the table
  virtual bool compare_with_dense() const { return false; }
};

/// Registers a benchmark. `make` is called when it first runs and may throw Error, which becomes an
/// error row; so does a refusal, which is asked for once, before anything is timed. Subjects live
/// as long as the program, so that repetitions can be interleaved.
///
/// Every repetition measures the ceilings, at the same number of threads, right before and right
/// after its passes; what drifts in the machine cancels in the quotients. Its counters:
///
///   flops         FLOP/s
///   of_peak       FLOP/s / fma_ceiling
///   bytes         bytes/s, where memory is the limit
///   of_bandwidth  bytes/s / read_ceiling
///   of_dense      scored pairs/s / those of blockwise, not causal, same head_dim and threads
///   workspace     bytes
void register_subject(const std::string& name, const Problem& problem, int threads,
                      std::function<std::unique_ptr<Subject>()> make);

/// FLOP and scored pairs of dense attention as the field counts them: 2 (head_dim + value_dim) per
/// pair of query and key, and half the pairs where causal.
Work dense_work(const Problem& problem);

/// A variant's forward pass. `work` replaces what the variant's own cost says: all FLOP of its
/// products, so that the share of the peak tells of projections and hashes too.
std::unique_ptr<Subject> make_attention_subject(const Variant& variant, const Problem& problem,
                                                const Options& options, int threads,
                                                const Work* work = nullptr);

// Shared by all subjects, made when first asked for, kept until the program ends.
Context& shared_context(int threads);
const InputTensors& shared_inputs(const Problem& problem);  ///< normal, scores of deviation 1
TensorView shared_output(const Problem& problem);  ///< overwritten by the next one who asks
/// The same, filled with NaN: what the gate judges must not be another subject's output.
TensorView fresh_output(const Problem& problem);

/// Seconds that `body` takes.
double seconds_of(const std::function<void()>& body);

}  // namespace longattn::benchmarks

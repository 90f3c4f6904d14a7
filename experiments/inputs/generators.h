#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/tensor.h"
#include "experiments/cell.h"
#include "experiments/inputs/generator.h"
#include "experiments/inputs/traces.h"

namespace longattn {

/// Queries, keys, values and extra tensors of one cell.
struct InputTensors {
  Tensor queries, keys, values;
  std::vector<OwnedTensor> extra;
};

/// A generated input: `given` options (name, text) and the defaults of the others, labelled
/// "needle count 2" by those that are given. Throws OptionError as Options does, also for an
/// unknown generator.
InputSpec generated_input(std::string_view generator,
                          const std::vector<std::pair<std::string, std::string>>& given = {});

/// Thrown instead of inputs by who was told to stop.
class StoppedError : public Error {
 public:
  using Error::Error;
};

/// Makes the inputs of a Problem: of a generator by drawing every row (the same bits for any number
/// of threads), of a trace the first query_len and key_len tokens of the file's layer. Throws as
/// make_source and read_trace do, ShapeError when the trace does not fit the Problem, and
/// StoppedError within a row of `stop` becoming other than 0. Memory beside the tensors: a row per
/// thread.
InputTensors make_inputs(const InputSpec& spec, const Problem& problem, int threads = 1,
                         const std::atomic<int>* stop = nullptr);

/// The same of some tokens alone, in their order: what one of many ranks holds. Of a trace nothing
/// else is read. Memory beside the tensors: a row per thread.
InputTensors make_inputs_of(const InputSpec& spec, const Problem& problem, const Tokens& queries,
                            const Tokens& keys, int threads = 1);

/// The source of a generated input; nullptr for a trace. Throws as make_source.
std::unique_ptr<const InputSource> source_of(const InputSpec& spec, const Problem& problem);

/// What its generator promises of it; nothing for a trace.
std::optional<InputTarget> target_of(const InputSpec& spec, const Problem& problem);

}  // namespace longattn

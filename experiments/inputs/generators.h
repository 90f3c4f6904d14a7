#pragma once

#include <string>
#include <vector>

#include "core/tensor.h"
#include "experiments/cell.h"
#include "experiments/inputs/traces.h"

namespace longattn {

/// Queries, keys, values and extra tensors of one cell.
struct InputTensors {
  Tensor queries, keys, values;
  std::vector<OwnedTensor> extra;
};

/// Makes the inputs of a Problem.
///
/// gaussian: independent normal numbers, keys and values with deviation 1, queries with deviation
/// temperature / (|scale| sqrt(head_dim)), so that the scaled scores scale * q.k have deviation
/// `temperature`. An element depends on (seed, tensor, batch entry, head, token, dimension)
/// alone: a longer tensor extends a shorter one, and any number of threads gives the same bits.
/// trace: the first query_len and key_len tokens of the file's layer.
/// Throws as read_trace does, and ShapeError when the trace does not fit the Problem.
InputTensors make_inputs(const InputSpec& spec, const Problem& problem, int threads = 1);

}  // namespace longattn

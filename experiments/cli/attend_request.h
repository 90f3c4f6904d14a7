#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/variant.h"
#include "experiments/inputs/traces.h"

namespace longattn {

/// The flags of `longattn attend`, as typed.
struct AttendFlags {
  std::string variant;
  std::string queries, keys, values;                       ///< .npy files
  std::string global_queries, global_keys, global_values;  ///< .npy files
  std::string input;                                       ///< a trace, .safetensors
  std::string layer = "0";
  std::string output;
  std::optional<std::string> logsumexp;  ///< empty text: beside the output, in a .safetensors
  std::string weights, rows;
  std::vector<std::string> set;
  std::optional<bool> causal;
  std::string scale, key_lengths, threads, seed;
};

/// All that one attention pass needs, read and checked.
struct AttendRequest {
  const Variant* variant = nullptr;
  Options options;
  Problem problem;
  Tensor queries, keys, values;
  std::vector<OwnedTensor> extra;  ///< in the order in which the variant declares them
  int axes = 4;                    ///< of the queries, and so of the output
  std::vector<Index> rows;         ///< query rows of which the definition is written
  int threads = 1;
  std::vector<std::string> notes;  ///< for standard error
};

/// Checks the flags, reads the tensors, and puts the Problem together. Throws OptionError,
/// ShapeError, ProblemError, UnsupportedError, DataError or IoError.
AttendRequest read_request(const AttendFlags& flags, const std::vector<const Variant*>& variants);

/// The shape with the axes that the queries' file has: [len, dim] for 2, [heads, len, dim] for 3.
std::vector<Index> shape_with_axes(const std::array<Index, 4>& shape, int axes);

}  // namespace longattn

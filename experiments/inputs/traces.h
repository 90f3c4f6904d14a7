#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/block_schedule.h"
#include "core/tensor.h"
#include "core/types.h"

namespace longattn {

class SafetensorsFile;

/// A tensor beside queries, keys and values, with the name that the file gives it.
struct OwnedTensor {
  std::string name;
  Tensor tensor;
};

/// Queries, keys and values of one layer, taken from a model. All tensors are stored alike; where
/// the file mixes types they are widened to float32.
struct Trace {
  Tensor queries, keys, values;    ///< [batch, heads, len, dim]
  std::vector<OwnedTensor> extra;  ///< "global_queries", ...: other floating tensors of the layer
  std::optional<double> scale;     ///< of the metadata
  std::optional<bool> causal;      ///< of the metadata
  int axes = 4;                    ///< of the queries in the file: 2, 3 or 4
  bool rounded = false;            ///< some tensor was float64 and has been rounded to float32
};

/// Reads `layers.{layer}.queries`, `.keys`, `.values` (and what else the layer has) of a
/// .safetensors file; [heads, len, dim] or [batch, heads, len, dim]. Metadata `scale` (a number)
/// and `causal` (true or false) are optional. Throws IoError, and DataError for a malformed file, a
/// layer that is not there, tensors that do not fit each other, or metadata that cannot be read.
Trace read_trace(const std::string& path, Index layer);

/// Tokens of a sequence: arithmetic sequences one after the other.
using Tokens = std::vector<TokenSet>;
Index count_of(const Tokens& tokens);
Index token_at(const Tokens& tokens, Index n);

/// Rows of some tokens of `layers.{layer}.{name}`, in their order, stored as `dtype`, which holds
/// them exactly (read_trace says which does). Reads nothing else of the file's data. Throws as
/// read_trace, and ShapeError unless the tensor has this shape, or more tokens.
Tensor read_trace_tokens(const std::string& path, Index layer, const std::string& name,
                         const std::array<Index, 4>& shape, const Tokens& tokens, DType dtype);

/// Layers of which the file has queries, in increasing order.
std::vector<Index> trace_layers(const SafetensorsFile& file);

/// The shapes of a Problem as these tensors imply it. Throws ShapeError when they do not fit each
/// other: "keys: len 512, values say 500".
Problem problem_of(const Tensor& queries, const Tensor& keys, const Tensor& values);

/// Widens all to float32 unless all are stored alike. Exact.
void store_alike(const std::vector<Tensor*>& tensors);

}  // namespace longattn

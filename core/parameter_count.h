#pragma once

#include <string>
#include <vector>

#include "core/types.h"

namespace longattn {

/// The sizes that fix how many parameters a transformer has; the defaults are GPT-3's (Brown et al.
/// 2020, "Language models are few-shot learners", table 2.1).
struct ModelShape {
  Index model_dim = 12288;
  Index head_dim = 128;
  Index value_dim = 128;
  Index num_heads = 96;
  Index num_kv_heads = 96;
  Index layers = 96;
  Index feed_forward_dim = 49152;
  Index vocabulary = 50257;
};

/// One kind of matrix, all of its copies together.
struct ParameterRow {
  std::string part;            ///< "Value (down)"
  std::vector<Index> factors;  ///< whose product is `parameters`
  Index matrices = 0;
  Index parameters = 0;
};

struct ParameterTable {
  std::vector<ParameterRow> rows;
  Index matrices = 0, total = 0;
  Index attention = 0;  ///< of key, query, value (down) and output (value up)
};

/// Counts the parameters of the matrices of a model: embedding; key, query, value down and value up
/// of every head (the value up of a layer's heads stapled into one output matrix); up- and
/// down-projection of the feed-forward layers; unembedding. Biases, normalisation and position
/// embeddings are left out. Keys and values down are counted once a kv head.
///
/// Throws ProblemError when a size is below 1, num_heads is no multiple of num_kv_heads, or the
/// count does not fit 64 bits.
ParameterTable count_parameters(const ModelShape& shape);

}  // namespace longattn

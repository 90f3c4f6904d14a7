#pragma once

#include <cstdint>
#include <vector>

#include "core/attention.h"
#include "core/random.h"
#include "core/tensor.h"

namespace longattn {

/// A tensor of independent normal numbers with the given standard deviation.
inline Tensor gaussian_tensor(const std::array<Index, 4>& shape, std::uint64_t seed,
                              double deviation = 1) {
  Tensor tensor(shape);
  const CounterRandom random(seed);
  for (Index n = 0; n < tensor.size(); ++n) {
    tensor.floats()[n] =
        static_cast<float>(deviation * random.normal(static_cast<std::uint64_t>(n)));
  }
  return tensor;
}

/// Queries, keys and values of a Problem, and room for its outputs.
struct ProblemTensors {
  explicit ProblemTensors(const Problem& p, std::uint64_t seed = 1, double deviation = 1)
      : queries(gaussian_tensor({p.batch, p.num_heads, p.query_len, p.head_dim}, seed, deviation)),
        keys(gaussian_tensor({p.batch, p.num_kv_heads, p.key_len, p.head_dim}, seed + 100)),
        values(gaussian_tensor({p.batch, p.num_kv_heads, p.key_len, p.value_dim}, seed + 200)),
        output({p.batch, p.num_heads, p.query_len, p.value_dim}),
        logsumexp({p.batch, p.num_heads, p.query_len, 1}) {}

  Inputs inputs() const { return {queries.view(), keys.view(), values.view(), {}}; }
  Outputs outputs() { return {output.mutable_view(), logsumexp.mutable_view()}; }
  Outputs output_alone() { return {output.mutable_view(), {}}; }

  Tensor queries, keys, values, output, logsumexp;
};

}  // namespace longattn

#pragma once

#include "core/attention.h"
#include "core/kernels.h"
#include "variants/linformer/projections.h"

// Inside of Linformer's forward: E K and F V.
namespace longattn {

/// Projects the keys and values of all heads: those of each projected head (a kv head, or a query
/// head where each has an E of its own) to a float32 row per row of E, E K and then F V, both
/// padded to whole panels. Keys and values are packed chunk by chunk, so that a chunk stays in a
/// worker's L2 cache while all rows of E pass over it; padding is not read. Each element is summed
/// over keys in order: the bits depend on neither threads nor the cut into tasks.
class Projector {
 public:
  Projector(const Problem& problem, const Projections& projections);

  Index heads() const { return heads_; }                            ///< of one batch entry
  Index value_column() const { return padded(problem_.head_dim); }  ///< where F V begins
  Index width() const { return value_column() + padded(problem_.value_dim); }
  Index floats() const { return problem_.batch * heads_ * rows_ * width(); }
  Index workspace_bytes(int threads) const;

  /// Writes `floats()` numbers, [batch, heads, rows of E, width].
  void project(const Inputs& inputs, float* projected, Context& context) const;

 private:
  struct Head {
    Index batch_entry, head, kv_head;
  };
  static Index padded(Index dim) { return kernels::round_up(dim, kernels::kPanel); }
  Head head_at(Index n) const;  // n-th projected head over all batch entries
  Side side_of(Index column) const { return column < value_column() ? Side::keys : Side::values; }
  kernels::Ahead strip_ahead(Index head, Index row, Index first, Index count) const;
  void multiply(const Inputs& inputs, float* projected, Context& context) const;
  void pool(const Inputs& inputs, float* projected, Context& context) const;
  void pack(const Inputs& inputs, const Head& at, Index first, Index count, float* panels) const;

  const Problem& problem_;
  const Projections& projections_;
  const Index heads_, rows_;
};

}  // namespace longattn

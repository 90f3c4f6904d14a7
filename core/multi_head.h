#pragma once

#include "core/attention.h"
#include "core/matmul.h"

namespace longattn {

/// The learned matrices of one layer, float32, heads side by side in the order of their numbers.
///
/// The value map of a head, model_dim x model_dim, is the product of two thin ones, so its rank is
/// at most value_dim: value_down takes an embedding down to a value, value_up takes it back up.
/// The value_up of all heads, stapled one below the other, are the "output matrix" W_O; what papers
/// call W_V is value_down alone.
struct MultiHeadWeights {
  ConstMatrix query;       ///< [model_dim, num_heads * head_dim]
  ConstMatrix key;         ///< [model_dim, num_kv_heads * head_dim]
  ConstMatrix value_down;  ///< [model_dim, num_kv_heads * value_dim]
  ConstMatrix value_up;    ///< [num_heads * value_dim, model_dim]: W_O
};

/// What a layer reads, float32. In self-attention both are the same view.
struct MultiHeadInputs {
  ConstTensorView embeddings;  ///< [batch, 1, query_len, model_dim]: E, what gets updated
  ConstTensorView context;     ///< [batch, 1, key_len, model_dim]: what is looked at
};

/// What a layer writes, float32.
struct MultiHeadOutputs {
  TensorView update;    ///< [batch, 1, query_len, model_dim]: dE; not the memory of an input
  TensorView residual;  ///< the same shape: E + dE; or empty; may be the memory of E itself
};

/// A whole multi-head attention layer around any variant.
///
///   dE = sum_h P_h C W_down^g(h) W_up^h,   P_h = the variant on (E W_Q^h, C W_K^g(h))
///      = Concat_h(P_h C W_down^g(h)) W_O
///
/// with E the embeddings, C the context (row vectors), g(h) = h / (num_heads / num_kv_heads). The
/// second line is what is computed: three products down, the variant, one product up. The variant
/// reads strided views of the projected buffers, which hold [batch, len, heads, dim], and writes
/// its heads side by side, so no head is copied. Extra tensors of a variant are not projected: it
/// runs without them.
///
/// Flops beside the variant's: 2 batch model_dim (query_len num_heads (head_dim + value_dim) +
/// key_len num_kv_heads (head_dim + value_dim)). Scratch: the four projected buffers, and the
/// larger of a product's and the variant's own. Nothing is allocated by a second call on one
/// Context; the bits do not depend on the number of threads.
///
/// Vaswani et al. 2017, "Attention is all you need", section 3.2.2; grouped heads: Ainslie et al.
/// 2023, "GQA", section 2.2. Without biases; the factor 1/sqrt(head_dim) is the Problem's.
class MultiHead {
 public:
  /// Keeps a reference to `attention` and the pointers of `weights`. Throws ShapeError when a
  /// matrix does not fit the attention's Problem or the Problem does not store float32.
  MultiHead(const Attention& attention, Index model_dim, const MultiHeadWeights& weights);

  /// Throws ShapeError when a view does not fit.
  void forward(const MultiHeadInputs& inputs, const MultiHeadOutputs& outputs,
               Context& context) const;
  Cost cost(int threads) const;

  const Attention& attention() const { return attention_; }
  Index model_dim() const { return model_dim_; }

 private:
  const Attention& attention_;
  Index model_dim_;
  MultiHeadWeights weights_;
};

}  // namespace longattn

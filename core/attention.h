#pragma once

#include <Eigen/Core>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "core/parallel.h"
#include "core/tensor.h"
#include "core/types.h"

namespace longattn {

/// What a forward pass reads. Keys and values have num_kv_heads heads. Views carry their DType,
/// which must be the Problem's.
struct Inputs {
  ConstTensorView queries, keys, values;
  std::span<const NamedTensor> extra{};  ///< only names that the Variant declares

  /// Index into `extra`, or -1.
  int find_extra(std::string_view name) const;
};

/// What a forward pass writes.
struct Outputs {
  TensorView output;     ///< [batch, num_heads, query_len, value_dim]
  TensorView logsumexp;  ///< [batch, num_heads, query_len, 1], or empty: not asked for
};

/// Predicted cost of one forward pass. For patterns that depend on the content, an upper bound.
struct Cost {
  double flops = 0;            ///< of the matrix products: 2 per multiply-add
  double double_flops = 0;     ///< of these: in double precision, as definitions are calculated
  double scored_pairs = 0;     ///< (query, key) pairs that get a score, over all heads and batch
  double bytes_moved = 0;      ///< least traffic: inputs read once, outputs written once, scratch
  double workspace_bytes = 0;  ///< most that Workspace::peak_bytes can reach
  /// Numbers that the plan itself holds, as a layer holds its weights: drawn at first use or read.
  double held_bytes = 0;
};

/// Rows of the matrix W of a variant: output_i = sum_j weights(i, j) * value_j.
struct Rows {
  Eigen::MatrixXd weights;     ///< [queries, key_len]
  Eigen::MatrixXd magnitudes;  ///< sum of absolute terms behind each weight; empty: |weights|
  Eigen::VectorXd
      score_bound;  ///< per row, max over weighed keys of |scale| sum_c |q_c k_c| + |bias|
  Eigen::VectorXd logsumexp;      ///< per row; empty: not defined for this variant
  std::vector<int> value_source;  ///< per row, 0: values, n: extra tensor n-1; empty: all 0
};

/// The definition of a variant for one (batch entry, head): its rows in double, written as plainly
/// as the paper's formula. It judges forward; it is never fast, blocked or clever. Making one does
/// the preparation (hashing, E K, ...) once. It keeps views of the inputs it was made from.
class Definition {
 public:
  virtual ~Definition() = default;
  /// Rows for the queries asked for; O(rows * key_len * head_dim) time, O(rows * key_len) memory.
  virtual Rows rows(std::span<const Index> queries) const = 0;
};

/// A plan for one Problem: immutable, shareable between threads.
class Attention {
 public:
  explicit Attention(Problem problem);
  virtual ~Attention() = default;
  Attention(const Attention&) = delete;
  Attention& operator=(const Attention&) = delete;

  const Problem& problem() const { return problem_; }

  /// Computes the outputs. Throws ShapeError when a view does not fit the Problem, and
  /// UnsupportedError when a logsumexp is asked for that the variant does not define. The bits of
  /// the result do not depend on the number of threads.
  void forward(const Inputs& inputs, const Outputs& outputs, Context& context) const;

  virtual std::unique_ptr<Definition> definition(const Inputs& inputs, Index batch_entry,
                                                 Index head) const = 0;
  /// Full attention over the queries and keys that the variant makes of its inputs, where it makes
  /// others (Reformer's shared ones): errors are told against this too. nullptr: it makes none.
  virtual std::unique_ptr<Definition> own_full_attention(const Inputs&, Index, Index) const {
    return nullptr;
  }
  virtual Cost cost(int threads) const = 0;
  virtual std::vector<PlanFigure> figures() const { return {}; }
  /// Whether logsumexp is defined: log of the sum of exp over the keys that a row weighs.
  virtual bool has_logsumexp() const { return true; }
  /// Numerical facts of forward that the derived tolerance needs (see core/tolerance.h).
  struct Rounding {
    double score_roundings = 0;  ///< S: roundings behind one score; 0: head_dim + 4
    double sum_roundings = 0;    ///< D: roundings behind one output, beside the scores; 0: key_len
    /// Relative rounding of a probability before it meets its value, beside float32's: 2^-9 where
    /// it is stored as bfloat16.
    double probability_rounding = 0;
  };
  virtual Rounding rounding() const { return {}; }

 private:
  virtual void forward_impl(const Inputs& inputs, const Outputs& outputs,
                            Context& context) const = 0;
  Problem problem_;
};

/// Bytes of queries, keys and values read once and of the float32 output written once.
double least_traffic(const Problem& problem);

/// Throws ShapeError when queries, keys or values do not fit the Problem.
void check_inputs(const Problem& problem, const Inputs& inputs);

}  // namespace longattn

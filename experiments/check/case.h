#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/tolerance.h"
#include "core/variant.h"
#include "experiments/check/full_attention.h"
#include "experiments/check/shapes.h"

namespace longattn {

/// Queries, keys, values and the extra tensors of one case.
class CaseTensors {
 public:
  /// Gaussian, queries multiplied by `temperature`, stored as the Problem says.
  CaseTensors(const Variant& variant, const Problem& problem, double temperature, bool with_extra);
  CaseTensors(CaseTensors&&) = default;

  CaseTensors copy() const;
  /// Views of the tensors; good as long as they live.
  Inputs inputs() const { return {queries.view(), keys.view(), values.view(), named_}; }
  const std::vector<Tensor>& extra() const { return extra_; }

  /// Writes over row j of every batch entry and head: of the keys and of what is like keys; and so
  /// on. The factor multiplies.
  void fill_key(Index j, float value);
  void fill_value(Index j, float value);
  void fill_query(Index i, float value);
  void scale_key(Index j, float factor);

  Tensor queries, keys, values;

 private:
  CaseTensors() = default;
  void name_extra(const std::vector<ExtraTensor>& declared);
  void fill_like(ExtraTensor::Like like, Index row, float value);

  std::vector<Tensor> extra_;
  std::vector<ExtraTensor::Like> like_;
  std::vector<NamedTensor> named_;
};

/// What a forward pass wrote.
struct Result {
  Tensor output, logsumexp;  ///< logsumexp is empty where it was not asked for
};

/// One variant, with one setting of its options, on one Problem: what a law is held against.
class Case {
 public:
  /// `unsupported` has accepted the Problem. Throws what making the plan throws.
  Case(const Variant& variant, const Options& options, const Shape& shape, bool with_extra);

  const Variant& variant;
  const Options options;
  const Problem problem;
  const bool long_sequence, with_extra;
  const Traits traits;
  const std::unique_ptr<const Attention> attention;
  const CaseTensors tensors;
  std::vector<Index> queries;  ///< the rows looked at: all of them, or a sample of a long sequence

  Inputs inputs() const { return tensors.inputs(); }
  /// Traits describe the variant without its extra tensors.
  bool is(Traits::Rows rows) const { return !with_extra && traits.rows == rows; }
  bool rows_are_means() const {
    return is(Traits::Rows::restricted) || is(Traits::Rows::stochastic);
  }

  // The same for every law, made once.
  const Result& result() const;  ///< one thread
  const ExpectedRows& expected(Index batch_entry, Index head) const;
  const FullRows& full(Index batch_entry, Index head) const;
  /// Whether some definite weight may be exactly zero only because double cannot hold it.
  bool may_underflow() const;

 private:
  size_t slot(Index batch_entry, Index head) const {
    return static_cast<size_t>(batch_entry * problem.num_heads + head);
  }
  mutable std::optional<Result> result_;
  mutable std::vector<std::optional<ExpectedRows>> expected_;
  mutable std::vector<std::optional<FullRows>> full_;
};

/// A forward pass into tensors full of NaN, so that what is left unwritten shows.
Result run_forward(const Attention& attention, const Inputs& inputs, Context& context);
/// The same on a Context of its own.
Result run_forward(const Attention& attention, const Inputs& inputs, int threads = 1);

/// The rows looked at, of one head, as doubles: [queries, dim].
Eigen::MatrixXd rows_of(const Tensor& tensor, Index batch_entry, Index head,
                        std::span<const Index> queries);

/// Where two results first differ in their bits, with both numbers; nothing if nowhere. NaN equals
/// NaN. The second form compares one row.
std::optional<std::string> difference(const Result& found, const Result& expected);
std::optional<std::string> row_difference(const Result& found, const Result& expected,
                                          Index batch_entry, Index head, Index query);

}  // namespace longattn

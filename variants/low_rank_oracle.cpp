#include "variants/low_rank_oracle.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/blocked_attention.h"
#include "core/leading_subspace.h"
#include "core/softmax_definition.h"

namespace longattn {
namespace {

constexpr Index kMostTokens = 4096;

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Vector = Eigen::Map<Eigen::VectorXd>;

// Rows as tasks: enough to share, few enough to hand out.
constexpr Index kRowsOfTask = 16;

// The weights of one head in double, and the directions of values that are kept.
struct Choice {
  std::span<double> weights;  // [query_len, keys]
  std::span<double> basis;    // [rank, keys], orthonormal rows; empty: all directions
};

class LowRank final : public Attention {
 public:
  LowRank(const Problem& p, const Options& options) : Attention(p), k_(options.integer("k")) {}

  std::unique_ptr<Definition> definition(const Inputs& inputs, Index b, Index head) const override;

  Cost cost(int) const override {
    const Problem& p = problem();
    Cost cost;
    cost.bytes_moved = least_traffic(p);
    for (Index b = 0; b < p.batch; ++b) {
      const Index keys = p.visible_key_len(b);
      const auto rows = static_cast<double>(p.query_len), columns = static_cast<double>(keys);
      const auto heads = static_cast<double>(p.num_heads);
      const auto rank = static_cast<double>(std::min({k_, keys, p.query_len}));
      cost.scored_pairs += heads * rows * columns;
      cost.flops += heads * 2 * rows * columns * (static_cast<double>(p.head_dim) + rank);
      cost.flops += heads * 2 * (rows + columns) * rank * static_cast<double>(p.value_dim);
      if (rank_of(b) > 0) cost.flops += heads * leading_flops(p.query_len, keys, rank_of(b));
      cost.workspace_bytes = std::max(cost.workspace_bytes, static_cast<double>(bytes(b)));
    }
    cost.double_flops = cost.flops;
    return cost;
  }
  bool has_logsumexp() const override { return false; }
  // Everything is double; the output is rounded once.
  Rounding rounding() const override { return {.score_roundings = 1, .sum_roundings = 2}; }

  /// The one function that chooses; takes its memory from the context.
  Choice choose(const Inputs& inputs, Index b, Index head, Context& context) const {
    const Problem& p = problem();
    Workspace& workspace = context.workspace();
    const Index keys = p.visible_key_len(b), rank = rank_of(b);
    Choice choice;
    choice.weights = workspace.take<double>(p.query_len * keys);
    choice.basis = workspace.take<double>(rank * keys);
    const Workspace::Scope scope(workspace);
    const auto packed = workspace.take<double>(keys * p.head_dim);
    const auto queries = workspace.take<double>(tasks() * p.head_dim);
    for (Index j = 0; j < keys; ++j) {
      load_row(inputs.keys, b, p.kv_head(head), j, packed.data() + j * p.head_dim);
    }
    context.arena().for_each(tasks(), [&](Index task, int) {
      double* query = queries.data() + task * p.head_dim;
      for_rows(task, [&](Index i) {
        load_row(inputs.queries, b, head, i, query);
        weigh(head, i, Vector(query, p.head_dim), packed.data(),
              Vector(choice.weights.data() + i * keys, keys));
      });
    });
    if (rank > 0) {
      leading_right_vectors(choice.weights, p.query_len, keys, rank, choice.basis, context);
    }
    return choice;
  }

 private:
  // Directions to look for; 0: W as it is has no higher rank.
  Index rank_of(Index b) const {
    return k_ < std::min(problem().query_len, problem().visible_key_len(b)) ? k_ : 0;
  }
  // Vectors of value_dim that a row sums up: one a direction, or one a key.
  Index num_terms(Index b) const {
    return rank_of(b) > 0 ? rank_of(b) : problem().visible_key_len(b);
  }
  Index tasks() const { return (problem().query_len + kRowsOfTask - 1) / kRowsOfTask; }
  template <class Body>
  void for_rows(Index task, Body body) const {
    const Index end = std::min((task + 1) * kRowsOfTask, problem().query_len);
    for (Index i = task * kRowsOfTask; i < end; ++i) body(i);
  }

  Index bytes(Index b) const {
    const Problem& p = problem();
    const Index keys = p.visible_key_len(b), rank = rank_of(b);
    const Index choosing = Workspace::bytes_for<double>(keys * p.head_dim) +
                           Workspace::bytes_for<double>(tasks() * p.head_dim) +
                           (rank > 0 ? leading_workspace_bytes(keys, rank) : 0);
    const Index attending = Workspace::bytes_for<double>(num_terms(b) * p.value_dim) +
                            Workspace::bytes_for<double>(p.value_dim) +
                            Workspace::bytes_for<double>(tasks() * p.value_dim);
    return Workspace::bytes_for<double>(p.query_len * keys) +
           Workspace::bytes_for<double>(rank * keys) + std::max(choosing, attending);
  }

  // One row of full attention.
  void weigh(Index head, Index query, const Vector& q, const double* keys, Vector row) const {
    const Problem& p = problem();
    double largest = -std::numeric_limits<double>::infinity();
    for (Index j = 0; j < row.size(); ++j) {
      const Eigen::Map<const Eigen::VectorXd> k(keys + j * p.head_dim, p.head_dim);
      row(j) = p.effective_scale() * q.dot(k) + p.bias(head, query, j);
      largest = std::max(largest, row(j));
    }
    double sum = 0;
    for (Index j = 0; j < row.size(); ++j) {
      row(j) = std::exp(row(j) - largest);
      sum += row(j);
    }
    row /= sum;
  }

  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context& context) const override {
    for (Index b = 0; b < problem().batch; ++b) {
      for (Index h = 0; h < problem().num_heads; ++h) attend(inputs, outputs, b, h, context);
    }
  }

  // output_i = sum_a (w_i . basis_a) (sum_j basis_aj v_j); without a basis, sum_j w_ij v_j.
  void attend(const Inputs& inputs, const Outputs& outputs, Index b, Index h,
              Context& context) const {
    const Problem& p = problem();
    Workspace& workspace = context.workspace();
    const Workspace::Scope scope(workspace);
    const Choice choice = choose(inputs, b, h, context);
    const Index keys = p.visible_key_len(b), width = p.value_dim;
    const Index rank = rank_of(b), count = num_terms(b);
    const auto terms = workspace.take<double>(count * width);
    const auto value = workspace.take<double>(width);
    const auto sums = workspace.take<double>(tasks() * width);
    std::fill(terms.begin(), terms.end(), 0.0);
    for (Index j = 0; j < keys; ++j) {
      load_row(inputs.values, b, p.kv_head(h), j, value.data());
      if (rank == 0) std::copy_n(value.data(), width, terms.data() + j * width);
      for (Index a = 0; a < rank; ++a) {
        Vector(terms.data() + a * width, width) +=
            choice.basis[static_cast<size_t>(a * keys + j)] * Vector(value.data(), width);
      }
    }
    context.arena().for_each(tasks(), [&](Index task, int) {
      Vector sum(sums.data() + task * width, width);
      for_rows(task, [&](Index i) {
        const Vector weights(choice.weights.data() + i * keys, keys);
        sum.setZero();
        for (Index a = 0; a < count; ++a) {
          const double factor =
              rank > 0 ? weights.dot(Vector(choice.basis.data() + a * keys, keys)) : weights(a);
          if (factor != 0) sum += factor * Vector(terms.data() + a * width, width);
        }
        float* output = outputs.output.row(b, h, i);
        for (Index c = 0; c < width; ++c) output[c] = static_cast<float>(sum(c));
      });
    });
  }

  const Index k_;
};

// Rows of full attention, projected on the kept directions.
class LowRankDefinition final : public Definition {
 public:
  LowRankDefinition(const Problem& p, std::unique_ptr<Definition> full, Matrix basis)
      : p_(p), full_(std::move(full)), basis_(std::move(basis)) {}

  Rows rows(std::span<const Index> queries) const override {
    Rows result = full_->rows(queries);
    result.logsumexp.resize(0);
    if (basis_.rows() == 0) return result;
    const Index keys = basis_.cols();
    const Eigen::MatrixXd along = result.weights.leftCols(keys) * basis_.transpose();
    result.magnitudes = Eigen::MatrixXd::Zero(result.weights.rows(), p_.key_len);
    result.magnitudes.leftCols(keys) = along.cwiseAbs() * basis_.cwiseAbs();
    result.weights.leftCols(keys) = along * basis_;
    return result;
  }

 private:
  const Problem p_;
  const std::unique_ptr<Definition> full_;
  const Matrix basis_;  // [rank, keys]; no rows: W itself
};

std::unique_ptr<Definition> LowRank::definition(const Inputs& inputs, Index b, Index head) const {
  Matrix basis;
  if (rank_of(b) > 0) {
    Context context(1);
    const Choice choice = choose(inputs, b, head, context);
    basis = Eigen::Map<const Matrix>(choice.basis.data(), rank_of(b), problem().visible_key_len(b));
  }
  return std::make_unique<LowRankDefinition>(
      problem(), softmax_definition(problem(), inputs, b, head), std::move(basis));
}

std::string why_unsupported(const Problem& p, const Options&) {
  if (p.mask.causal) {
    return "the nearest matrix of rank k is not triangular, so it would weigh future keys";
  }
  if (!p.mask.document_ids.empty()) {
    return "the nearest matrix of rank k would have to divide its rank between the documents";
  }
  for (Index tokens : {p.query_len, p.key_len}) {
    if (tokens <= kMostTokens) continue;
    return fmt::format(
        "it holds the whole matrix of weights in double and looks for its singular vectors, which "
        "is meant for at most {} tokens, not {}",
        kMostTokens, tokens);
  }
  return "";
}

}  // namespace

const Variant kLowRankOracle = {
    .name = "low_rank_oracle",
    .summary = "baseline: the matrix of rank k nearest to the weights of full attention",
    .paper =
        "Eckart & Young 1936, The approximation of one matrix by another of lower rank; cf. "
        "Wang et al. 2020, Linformer, section 3.1",
    .options = {{.name = "k",
                 .type = OptionType::integer,
                 .default_value = Index{64},
                 .doc = "rank",
                 .minimum = 1}},
    .extra = {},
    .unsupported = why_unsupported,
    .traits =
        [](const Problem& p, const Options& options) {
          return Traits{.rows = Traits::Rows::signed_,
                        .causality = Traits::Causality::none,
                        .exact = options.integer("k") >= std::min(p.query_len, p.key_len),
                        .content_based = true};
        },
    .growth = [](const Options&) { return Growth{.time = 2, .memory = 2}; },
    .make = [](const Problem& problem, const Options& options) -> std::unique_ptr<const Attention> {
      return std::make_unique<LowRank>(problem, options);
    },
};

}  // namespace longattn

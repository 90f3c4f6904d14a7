#include "tests/conformance/stubs.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/softmax_definition.h"

namespace longattn {
namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();
constexpr Index kEverything = 1 << 20;

// load_row, with less work for the common type: a stub runs hundreds of cases.
void load(const ConstTensorView& view, Index b, Index head, Index i, double* target) {
  if (view.dtype != DType::float32) return load_row(view, b, head, i, target);
  const float* row = view.float_row(b, head, i);
  for (Index c = 0; c < view.dim(); ++c) target[c] = static_cast<double>(row[c]);
}

bool selecting(Fault fault) {
  return fault == Fault::none_selecting || fault == Fault::posing_as_strict ||
         fault == Fault::selects_by_size;
}

// Which keys a stub lets a query weigh, for one (batch entry, head); used by definition and
// forward.
class Pattern {
 public:
  Pattern(const Problem& p, Index window, Fault fault) : p_(p), window_(window), fault_(fault) {}

  bool allowed(Index head, Index query, Index key) const {
    return std::abs(p_.position(query) - key) <= window(head);
  }
  Index window(Index head) const {
    if (fault_ == Fault::heads_differ && head == 0) return 0;
    if (fault_ == Fault::depends_on_length) return p_.key_len / 4;
    if (fault_ == Fault::shrinks_with_budget) return std::max<Index>(0, 40 - window_);
    return window_;
  }
  // How far a key points along the query, and how far keys do on average, the future included: a
  // stub that selects weighs the keys above average. `q` and `k` have room for a row each.
  double along(const double* q, const double* k) const {
    double dot = 0, square = 0;
    for (Index c = 0; c < p_.head_dim; ++c) {
      dot += q[c] * k[c];
      square += k[c] * k[c];
    }
    return fault_ == Fault::selects_by_size ? dot : dot / std::sqrt(square);
  }
  double average(const Inputs& inputs, Index b, Index head, Index query, double* q,
                 double* k) const {
    const Index keys = p_.visible_key_len(b);
    load(inputs.queries, b, head, query, q);
    double sum = 0;
    for (Index j = 0; j < keys; ++j) {
      load(inputs.keys, b, p_.kv_head(head), j, k);
      sum += along(q, k);
    }
    return sum / static_cast<double>(keys);
  }

 private:
  const Problem& p_;
  const Index window_;
  const Fault fault_;
};

// The rows of the stub's W: softmax over its pattern, and then the fault.
class StubDefinition final : public Definition {
 public:
  StubDefinition(const Problem& p, Index window, Fault fault, const Inputs& inputs, Index b,
                 Index head)
      : problem_(p),
        fault_(fault),
        b_(b),
        head_(head),
        inputs_(inputs),
        pattern_(problem_, window, fault) {
    Problem asked = p;
    if (fault == Fault::sharpened) asked.scale = 2 * p.effective_scale();
    if (fault == Fault::hidden_weight) asked.mask.causal = false;
    softmax_ = softmax_definition(asked, inputs, b, head, [this](Index i, Index j) {
      if (fault_ == Fault::hidden_weight && j > problem_.position(i) + 1) return false;
      if (selecting(fault_) && !selected(i, j)) return false;
      return pattern_.allowed(head_, i, j);
    });
  }

  Rows rows(std::span<const Index> queries) const override {
    Rows rows = softmax_->rows(queries);
    Eigen::MatrixXd& weights = rows.weights;
    if (fault_ == Fault::zero_definition) weights.setZero();
    if (fault_ == Fault::no_logsumexp) rows.logsumexp.resize(0);
    for (Index r = 0; r < weights.rows(); ++r) {
      const auto seen = static_cast<double>((weights.row(r).array() != 0).count());
      if (seen == 0) continue;
      if (fault_ == Fault::mean_definition) {
        weights.row(r) = (weights.row(r).array() != 0)
                             .select(Eigen::RowVectorXd::Constant(weights.cols(), 1 / seen), 0);
      }
      if (fault_ == Fault::leaky_sum) weights.row(r) *= 0.99;
      if (fault_ == Fault::negative_weights) tilt(weights, r);
    }
    if (fault_ == Fault::negative_weights) rows.magnitudes = weights.cwiseAbs();
    return rows;
  }

  // Moves a weight of 3 from the first weighed key to the last.
  static void tilt(Eigen::MatrixXd& weights, Index r) {
    Index first = -1, last = -1;
    for (Index j = 0; j < weights.cols(); ++j) {
      if (weights(r, j) == 0) continue;
      if (first < 0) first = j;
      last = j;
    }
    weights(r, first) -= 3;
    weights(r, last) += 3;
  }

 private:
  bool selected(Index i, Index j) const {
    std::vector<double> q(static_cast<size_t>(problem_.head_dim)), k(q);
    auto [found, added] = average_.try_emplace(i, 0);
    if (added) found->second = pattern_.average(inputs_, b_, head_, i, q.data(), k.data());
    load(inputs_.queries, b_, head_, i, q.data());
    load(inputs_.keys, b_, problem_.kv_head(head_), j, k.data());
    return pattern_.along(q.data(), k.data()) >= found->second;
  }

  const Problem problem_;
  const Fault fault_;
  const Index b_, head_;
  const Inputs inputs_;
  const Pattern pattern_;
  mutable std::map<Index, double> average_;  // by query
  std::unique_ptr<Definition> softmax_;
};

class Stub final : public Attention {
 public:
  Stub(const Problem& p, Index window, Fault fault)
      : Attention(p), window_(window), fault_(fault), pattern_(problem(), window, fault) {}

  std::unique_ptr<Definition> definition(const Inputs& inputs, Index b, Index head) const override {
    return std::make_unique<StubDefinition>(problem(), window_, fault_, inputs, b, head);
  }
  Cost cost(int threads) const override {
    const Problem& p = problem();
    Cost cost;
    cost.scored_pairs =
        static_cast<double>(p.batch * p.num_heads * p.query_len) * static_cast<double>(p.key_len);
    if (fault_ == Fault::undercounts_pairs) cost.scored_pairs /= 3;
    cost.flops = 2 * cost.scored_pairs * static_cast<double>(p.head_dim + p.value_dim);
    cost.workspace_bytes = static_cast<double>(Workspace::bytes_for<double>(threads * row_size()));
    cost.bytes_moved = least_traffic(p);
    return cost;
  }
  bool has_logsumexp() const override {
    return fault_ != Fault::zero_definition && fault_ != Fault::mean_definition;
  }
  Rounding rounding() const override {
    return fault_ == Fault::huge_rounding ? Rounding{.sum_roundings = 1e9} : Rounding{};
  }

 private:
  // Per worker: a row of weights, a row of one tensor, an output row.
  Index width() const { return std::max(problem().head_dim, problem().value_dim); }
  Index row_size() const { return problem().key_len + 3 * width(); }

  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context& context) const override {
    const Problem& p = problem();
    std::optional<Workspace::Scope> scope;
    if (fault_ != Fault::keeps_workspace) scope.emplace(context.workspace());
    const Index extra = fault_ == Fault::undeclared_workspace ? 1000 : 0;
    const std::span<double> scratch =
        context.workspace().take<double>(context.threads() * row_size() + extra);
    const Index calls = ++calls_;
    context.arena().for_each(p.batch * p.num_heads * p.query_len, [&](Index n, int worker) {
      const Index i = n % p.query_len, h = n / p.query_len % p.num_heads;
      const Index b = n / p.query_len / p.num_heads;
      double* row = scratch.data() + worker * row_size();
      attend_row(inputs, outputs, {b, h, i}, row);
      float* output = outputs.output.row(b, h, i);
      if (fault_ == Fault::depends_on_threads && context.threads() > 1) output[0] += 1e-3f;
      if (fault_ == Fault::changes_when_called_again)
        output[0] += 1e-3f * static_cast<float>(calls);
    });
    if (fault_ == Fault::writes_inputs && p.query_len > 0) {
      auto* element = static_cast<std::byte*>(const_cast<void*>(inputs.queries.row(0, 0, 0)));
      *element ^= std::byte{1};
    }
    if (fault_ == Fault::writes_beside) {
      outputs.output.row(p.batch - 1, p.num_heads - 1, p.query_len - 1)[p.value_dim] = 0;
    }
  }

  struct Place {
    Index b, h, i;
  };

  bool sees(const Place& at, Index j) const {
    const Problem& p = problem();
    const Index distance = std::abs(p.position(at.i) - j);
    if (fault_ == Fault::window_off_by_one) {
      return p.visible(at.b, at.i, j) && distance <= window_ + 1;
    }
    if (fault_ == Fault::causal_leak || fault_ == Fault::hidden_weight) {
      const bool next = p.mask.causal && j == p.position(at.i) + 1;
      if (next && j < p.visible_key_len(at.b) && distance <= window_) return true;
    }
    return p.visible(at.b, at.i, j) && pattern_.allowed(at.h, at.i, j);
  }

  // Scores of a row, -inf where nothing is weighed; returns the largest.
  double score_row(const Inputs& inputs, const Place& at, double* weights, double* buffers) const {
    const Problem& p = problem();
    double *q = buffers, *k = buffers + width(), largest = kNothing;
    load(inputs.queries, at.b, at.h, at.i, q);
    double average = 0;
    if (selecting(fault_)) average = pattern_.average(inputs, at.b, at.h, at.i, q, k);
    double scale = p.effective_scale();
    if (fault_ == Fault::scaled) scale *= 1.02;
    if (fault_ == Fault::sharpened) scale *= 2;
    for (Index j = 0; j < p.key_len; ++j) {
      weights[j] = kNothing;
      if (!sees(at, j)) continue;
      load(inputs.keys, at.b, p.kv_head(at.h), j, k);
      if (selecting(fault_) && pattern_.along(q, k) < average) continue;
      double dot = 0;
      for (Index c = 0; c < p.head_dim; ++c) dot += q[c] * k[c];
      weights[j] = scale * dot + p.bias(at.h, at.i, j);
      largest = std::max(largest, weights[j]);
    }
    return largest;
  }

  // Scores to weights; returns the logsumexp.
  double normalise(double* weights, double largest) const {
    const Index keys = problem().key_len;
    double sum = 0;
    if (fault_ == Fault::overflow && largest > kNothing) largest = 0;
    for (Index j = 0; j < keys; ++j) {
      weights[j] = weights[j] == kNothing ? 0 : std::exp(weights[j] - largest);
      if (fault_ == Fault::overflow)
        weights[j] = static_cast<double>(static_cast<float>(weights[j]));
      sum += weights[j];
    }
    if (sum == 0) return fault_ == Fault::empty_logsumexp ? 0 : kNothing;
    Index seen = 0, first = -1, last = -1;
    for (Index j = 0; j < keys; ++j) {
      weights[j] /= sum;
      if (weights[j] == 0) continue;
      if (fault_ == Fault::leaky_sum) weights[j] *= 0.99;
      if (first < 0) first = j;
      last = j;
      ++seen;
    }
    if (fault_ == Fault::negative_weights) weights[first] -= 3, weights[last] += 3;
    for (Index j = 0; j < keys; ++j) {
      const bool mean = fault_ == Fault::mean_forward || fault_ == Fault::mean_definition;
      if (mean && weights[j] != 0) weights[j] = 1 / static_cast<double>(seen);
      if (fault_ == Fault::zero_forward || fault_ == Fault::zero_definition) weights[j] = 0;
    }
    return largest + std::log(sum) + (fault_ == Fault::wrong_logsumexp ? 1e-3 : 0);
  }

  void load_value(const Inputs& inputs, const Place& at, Index j, double* value) const {
    const Problem& p = problem();
    ConstTensorView values = inputs.values;
    if (fault_ == Fault::ignores_strides) values.strides = dense_strides(values.shape);
    load(values, at.b, p.kv_head(at.h), j, value);
  }

  void attend_row(const Inputs& inputs, const Outputs& outputs, const Place& at,
                  double* scratch) const {
    const Problem& p = problem();
    std::vector<double> heap(fault_ == Fault::undeclared_heap ? static_cast<size_t>(row_size())
                                                              : 0);
    if (!heap.empty()) scratch = heap.data();
    double *weights = scratch, *buffers = scratch + p.key_len, *sum = buffers + 2 * width();
    const double largest = score_row(inputs, at, weights, buffers);
    const double logsumexp = normalise(weights, largest);
    std::fill_n(sum, p.value_dim, 0.0);
    for (Index j = 0; j < p.key_len; ++j) {
      const bool visible = p.visible(at.b, at.i, j);
      const bool reads = weights[j] != 0 || (fault_ == Fault::reads_hidden && !visible) ||
                         (fault_ == Fault::reads_unweighed && visible);
      if (!reads) continue;
      load_value(inputs, at, j, buffers);
      for (Index c = 0; c < p.value_dim; ++c) sum[c] += weights[j] * buffers[c];
    }
    if (fault_ == Fault::leaks_between_batch_entries && at.b > 0) {
      load(inputs.queries, 0, at.h, at.i, buffers);
      sum[0] += buffers[0];
    }
    float* output = outputs.output.row(at.b, at.h, at.i);
    for (Index c = 0; c < p.value_dim; ++c) output[c] = static_cast<float>(sum[c]);
    if (!outputs.logsumexp.empty()) {
      *outputs.logsumexp.row(at.b, at.h, at.i) = static_cast<float>(logsumexp);
    }
  }

  const Index window_;
  const Fault fault_;
  const Pattern pattern_;
  mutable std::atomic<Index> calls_{0};
};

template <Fault kFault>
std::string unsupported(const Problem&, const Options&) {
  return kFault == Fault::refuses_everything ? "it does not want to" : "";
}

template <Fault kFault>
Traits traits(const Problem& p, const Options& options) {
  Traits traits;
  const bool changed = kFault == Fault::heads_differ || kFault == Fault::depends_on_length ||
                       kFault == Fault::shrinks_with_budget || kFault == Fault::sharpened ||
                       kFault == Fault::leaky_sum || kFault == Fault::negative_weights;
  const Index farthest = std::max(p.key_len, p.query_len) - 1;
  traits.exact = !changed && !selecting(kFault) && options.integer("window") >= farthest;
  if (kFault == Fault::takes_causal) traits.causality = Traits::Causality::none;
  if (selecting(kFault)) {
    traits.content_based = true;
    if (kFault != Fault::posing_as_strict) {
      traits.causality = Traits::Causality::selection_sees_future;
      traits.prefix_stable = false;
    }
  }
  return traits;
}

template <Fault kFault>
std::unique_ptr<const Attention> make(const Problem& problem, const Options& options) {
  if (kFault == Fault::throws_in_make) throw std::runtime_error("it cannot");
  Problem planned = problem;
  if (kFault == Fault::plans_another_problem) planned.mask.causal = !planned.mask.causal;
  return std::make_unique<Stub>(planned, options.integer("window"), kFault);
}

template <Fault kFault>
Variant variant() {
  return {.name = "stub",
          .summary = "plain attention in a window, with one fault",
          .paper = "none",
          .options = {{.name = "window",
                       .type = OptionType::integer,
                       .default_value = kEverything,
                       .doc = "tokens on each side",
                       .minimum = 0,
                       .maximum = 0x1p40,
                       .nested = !selecting(kFault)}},
          .extra = {},
          .unsupported = unsupported<kFault>,
          .traits = traits<kFault>,
          .growth = [](const Options&) { return Growth{}; },
          .make = make<kFault>};
}

template <size_t... kIndex>
std::array<Variant, kFaults> all_stubs(std::index_sequence<kIndex...>) {
  return {variant<static_cast<Fault>(kIndex)>()...};
}

}  // namespace

const Variant& stub(Fault fault) {
  static const std::array<Variant, kFaults> kStubs = all_stubs(std::make_index_sequence<kFaults>());
  return kStubs[static_cast<size_t>(fault)];
}

const std::array<BrokenStub, kFaults - 2> kBrokenStubs = {{
    {Fault::scaled, "ScalesScores", "definition"},
    {Fault::zero_forward, "WritesZeros", "definition"},
    {Fault::mean_forward, "WritesTheMean", "definition"},
    {Fault::overflow, "Overflows", "definition"},
    {Fault::window_off_by_one, "HasAWindowOneTooWide", "definition"},
    {Fault::huge_rounding, "DeclaresAHugeTolerance", "rounding"},
    {Fault::wrong_logsumexp, "HasAWrongLogsumexp", "logsumexp"},
    {Fault::empty_logsumexp, "HasALogsumexpForEmptyRows", "logsumexp"},
    {Fault::no_logsumexp, "HasNoLogsumexpToJudgeBy", "logsumexp"},
    {Fault::hidden_weight, "WeighsAHiddenKey", "mask"},
    {Fault::zero_definition, "IsZeroPosingAsExact", "exact"},
    {Fault::mean_definition, "IsTheMeanPosingAsFull", "exact"},
    {Fault::leaky_sum, "HasRowsThatDoNotSumToOne", "constant"},
    {Fault::negative_weights, "HasNegativeWeights", "box"},
    {Fault::sharpened, "IsNoRestriction", "restricted"},
    {Fault::reads_hidden, "ReadsMaskedValues", "padding"},
    {Fault::reads_unweighed, "ReadsUnweighedValues", "unweighed"},
    {Fault::takes_causal, "TakesCausalProblems", "causality"},
    {Fault::causal_leak, "ReadsOneFutureToken", "future"},
    {Fault::posing_as_strict, "SelectsByTheFuture", "future"},
    {Fault::selects_by_size, "SelectsByTheSizeOfFutureKeys", "selection"},
    {Fault::depends_on_threads, "DependsOnThreads", "threads"},
    {Fault::changes_when_called_again, "ChangesWhenCalledAgain", "second_call"},
    {Fault::ignores_strides, "IgnoresStrides", "strides"},
    {Fault::writes_inputs, "WritesToItsInputs", "inputs"},
    {Fault::writes_beside, "WritesBesideItsRows", "writes"},
    {Fault::undeclared_workspace, "TakesUndeclaredWorkspace", "workspace"},
    {Fault::keeps_workspace, "KeepsItsWorkspace", "workspace"},
    {Fault::undeclared_heap, "TakesUndeclaredHeap", "heap"},
    {Fault::undercounts_pairs, "UndercountsPairs", "cost"},
    {Fault::plans_another_problem, "PlansAnotherProblem", "shapes"},
    {Fault::leaks_between_batch_entries, "LeaksBetweenBatchEntries", "batch"},
    {Fault::heads_differ, "HasHeadsThatDiffer", "heads"},
    {Fault::depends_on_length, "DependsOnLength", "prefix"},
    {Fault::shrinks_with_budget, "SeesLessWithALargerBudget", "nested"},
    {Fault::refuses_everything, "RefusesEverything", "definition"},
    {Fault::throws_in_make, "CannotBeMade", "definition"},
}};

}  // namespace longattn

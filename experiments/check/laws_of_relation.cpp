// Laws that hold one case against another.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "experiments/check/laws.h"

namespace longattn {
namespace {

// Views of entry b of every tensor, as a batch of one.
struct BatchEntry {
  BatchEntry(const Inputs& all, Index b) {
    for (const NamedTensor& tensor : all.extra) named.push_back({tensor.name, of(tensor.view, b)});
    inputs = {of(all.queries, b), of(all.keys, b), of(all.values, b), named};
  }
  static ConstTensorView of(ConstTensorView view, Index b) {
    if (view.data != nullptr) view.data = view.row(b, 0, 0);
    view.shape[0] = 1;
    return view;
  }
  std::vector<NamedTensor> named;
  Inputs inputs;
};

Problem problem_of_entry(const Problem& all, Index b) {
  Problem p = all;
  p.batch = 1;
  if (!p.mask.key_lengths.empty()) p.mask.key_lengths = {all.visible_key_len(b)};
  if (!p.mask.document_ids.empty()) {
    p.mask.document_ids.clear();
    for (Index j = 0; j < p.key_len; ++j) p.mask.document_ids.push_back(all.document(b, j));
  }
  return p;
}

}  // namespace

Violation batch_entries_are_independent(const Case& c) {
  const Problem& p = c.problem;
  for (Index b = 0; b < p.batch; ++b) {
    const auto alone = make_attention(c.variant, problem_of_entry(p, b), c.options);
    const BatchEntry entry(c.inputs(), b);
    const Result result = run_forward(*alone, entry.inputs);
    const auto bits_of = [](const Tensor& tensor, Index batch_entry, Index h, Index i) {
      return tensor.view().float_row(batch_entry, h, i);
    };
    for (Index h = 0; h < p.num_heads; ++h) {
      for (Index i = 0; i < p.query_len; ++i) {
        for (Index col = 0; col < p.value_dim; ++col) {
          const float found = bits_of(c.result().output, b, h, i)[col];
          const float expected = bits_of(result.output, 0, h, i)[col];
          if (found == expected || (std::isnan(found) && std::isnan(expected))) continue;
          return fmt::format("batch {}, head {}, query {}, column {}: {} in the batch, {} alone", b,
                             h, i, col, found, expected);
        }
        if (result.logsumexp.empty()) continue;
        const float found = *bits_of(c.result().logsumexp, b, h, i);
        const float expected = *bits_of(result.logsumexp, 0, h, i);
        if (found == expected) continue;
        return fmt::format("batch {}, head {}, query {}: logsumexp {} in the batch, {} alone", b, h,
                           i, found, expected);
      }
    }
  }
  return std::nullopt;
}

namespace {

// Head h of the permuted case is head permuted_head(h) of the case: groups in reverse order, and
// the heads of each group turned by one.
Index permuted_head(const Problem& p, Index h) {
  const Index group = p.num_heads / p.num_kv_heads;
  const Index kv = p.num_kv_heads - 1 - h / group;
  return kv * group + (h % group + 1) % group;
}

template <class Source>
Tensor permute_heads(const Tensor& tensor, Source source) {
  Tensor result(tensor.shape(), tensor.dtype());
  const ConstTensorView from = tensor.view(), to = result.view();
  for (Index b = 0; b < from.batch(); ++b) {
    for (Index h = 0; h < from.heads(); ++h) {
      for (Index i = 0; i < from.len(); ++i) {
        const auto* begin = static_cast<const std::byte*>(from.row(b, source(h), i));
        std::copy_n(begin, from.dim() * byte_size(from.dtype),
                    const_cast<std::byte*>(static_cast<const std::byte*>(to.row(b, h, i))));
      }
    }
  }
  return result;
}

}  // namespace

Violation heads_are_alike(const Case& c) {
  const auto head = [&](Index h) { return permuted_head(c.problem, h); };
  const auto kv_head = [&](Index h) { return c.problem.num_kv_heads - 1 - h; };
  Problem permuted = c.problem;
  for (size_t h = 0; h < permuted.mask.alibi_slopes.size(); ++h) {
    permuted.mask.alibi_slopes[h] =
        c.problem.mask.alibi_slopes[static_cast<size_t>(head(static_cast<Index>(h)))];
  }
  const Tensor queries = permute_heads(c.tensors.queries, head);
  const Tensor keys = permute_heads(c.tensors.keys, kv_head);
  const Tensor values = permute_heads(c.tensors.values, kv_head);
  const auto attention = make_attention(c.variant, permuted, c.options);
  const Result found = run_forward(*attention, {queries.view(), keys.view(), values.view(), {}});
  Result expected;
  expected.output = permute_heads(c.result().output, head);
  if (!found.logsumexp.empty()) expected.logsumexp = permute_heads(c.result().logsumexp, head);
  if (Violation v = difference(found, expected)) return "with permuted heads, " + *v;
  return std::nullopt;
}

namespace {

Problem prefix_problem(const Problem& all, Index tokens) {
  Problem p = all;
  p.key_len = tokens;
  p.query_len = std::max<Index>(0, tokens - all.position(0));
  for (Index& length : p.mask.key_lengths) length = std::min(length, tokens);
  if (!p.mask.document_ids.empty()) {
    p.mask.document_ids.clear();
    for (Index b = 0; b < p.batch; ++b) {
      for (Index j = 0; j < tokens; ++j) p.mask.document_ids.push_back(all.document(b, j));
    }
  }
  return p;
}

Violation prefix_differs(const Case& c, Index tokens) {
  const Problem p = prefix_problem(c.problem, tokens);
  if (p.query_len == 0 || !c.variant.unsupported(p, c.options).empty()) return std::nullopt;
  Inputs inputs = c.inputs();
  inputs.queries.shape[2] = p.query_len;
  inputs.keys.shape[2] = inputs.values.shape[2] = tokens;
  const auto attention = make_attention(c.variant, p, c.options);
  const Result result = run_forward(*attention, inputs);
  const std::vector<Index> queries(c.queries.begin(), c.queries.begin() + p.query_len);
  for (Index b = 0; b < p.batch; ++b) {
    for (Index h = 0; h < p.num_heads; ++h) {
      const ExpectedRows& whole = c.expected(b, h);
      const Rows rows = attention->definition(inputs, b, h)->rows(queries);
      const Eigen::MatrixXd found = rows_of(result.output, b, h, queries);
      for (Index r = 0; r < p.query_len; ++r) {
        const std::string where =
            fmt::format("a prefix of {} tokens, batch {}, head {}, query {}", tokens, b, h, r);
        for (Index j = 0; j < tokens; ++j) {
          if (std::abs(rows.weights(r, j) - whole.rows.weights(r, j)) <= 1e-12) continue;
          return fmt::format("{}: weight {} on key {}, {} in the whole pass", where,
                             rows.weights(r, j), j, whole.rows.weights(r, j));
        }
        for (Index col = 0; col < p.value_dim; ++col) {
          if (std::abs(found(r, col) - whole.output(r, col)) <= whole.tolerance(r, col)) continue;
          return fmt::format("{}, column {}: {}, {} in the whole pass", where, col, found(r, col),
                             whole.output(r, col));
        }
      }
    }
  }
  return std::nullopt;
}

}  // namespace

Violation prefixes_are_stable(const Case& c) {
  for (Index tokens : std::set<Index>{1, c.problem.key_len / 2, c.problem.key_len - 1}) {
    if (tokens < 1 || tokens >= c.problem.key_len) continue;
    if (Violation violation = prefix_differs(c, tokens)) return violation;
  }
  return std::nullopt;
}

namespace {

// About twice the value of an option, as text; empty where it has no larger one.
std::string larger_value(const Option& option, const OptionValue& value) {
  if (const auto* integer = std::get_if<Index>(&value)) {
    const double larger = std::min(2 * static_cast<double>(*integer) + 1, option.maximum);
    return larger > static_cast<double>(*integer) ? to_text(static_cast<Index>(larger)) : "";
  }
  if (const auto* number = std::get_if<double>(&value)) {
    const double larger = std::min(2 * std::abs(*number) + 1, option.maximum);
    return larger > *number ? to_text(larger) : "";
  }
  return "";
}

// Full attention's mass on the keys that the row weighs.
double captured_mass(const FullRows& full, const Eigen::MatrixXd& weights, Index r) {
  double mass = 0;
  for (Index j = 0; j < weights.cols(); ++j) {
    if (weights(r, j) != 0) mass += full.weights(r, j);
  }
  return mass;
}

Violation captures_less(const Case& c, const Option& option, const std::string& larger) {
  const Options options = c.options.with(c.variant.options, option.name, larger);
  if (!c.variant.unsupported(c.problem, options).empty()) return std::nullopt;
  const auto attention = make_attention(c.variant, c.problem, options);
  for (Index b = 0; b < c.problem.batch; ++b) {
    for (Index h = 0; h < c.problem.num_heads; ++h) {
      const Rows rows = attention->definition(c.inputs(), b, h)->rows(c.queries);
      for (Index r = 0; r < rows.weights.rows(); ++r) {
        const double before = captured_mass(c.full(b, h), c.expected(b, h).rows.weights, r);
        const double after = captured_mass(c.full(b, h), rows.weights, r);
        if (after >= before - 1e-12) continue;
        return fmt::format(
            "{} from {} to {}: batch {}, head {}, query {} captures {} instead of {} of full "
            "attention",
            option.name, to_text(c.options.value(option.name)), larger, b, h, r, after, before);
      }
    }
  }
  return std::nullopt;
}

}  // namespace

Violation nested_options_capture_more(const Case& c) {
  for (const Option& option : c.variant.options) {
    if (!option.nested) continue;
    const std::string larger = larger_value(option, c.options.value(option.name));
    if (larger.empty()) continue;
    if (Violation violation = captures_less(c, option, larger)) return violation;
  }
  return std::nullopt;
}

}  // namespace longattn

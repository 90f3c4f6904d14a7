// Laws about what is read.
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <set>

#include "experiments/check/laws.h"

namespace longattn {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Rows for which must_stay(batch entry, head, query) holds have the same bits with `tensors`.
template <class MustStay>
Violation changed_row(const Case& c, const CaseTensors& tensors, const std::string& what,
                      MustStay must_stay) {
  const Result result = run_forward(*c.attention, tensors.inputs());
  for (Index b = 0; b < c.problem.batch; ++b) {
    for (Index h = 0; h < c.problem.num_heads; ++h) {
      for (Index i = 0; i < c.problem.query_len; ++i) {
        if (!must_stay(b, h, i)) continue;
        if (Violation violation = row_difference(result, c.result(), b, h, i)) {
          return what + ": " + *violation;
        }
      }
    }
  }
  return std::nullopt;
}

// A few tokens in [1, key_len): early, middle, last.
std::set<Index> some_tokens(Index key_len) {
  std::set<Index> tokens;
  for (Index token : {Index{1}, key_len / 3, key_len / 2, key_len - 1}) {
    if (token > 0 && token < key_len) tokens.insert(token);
  }
  return tokens;
}

void poison(CaseTensors& tensors, Index token, float value) {
  tensors.fill_key(token, value);
  tensors.fill_value(token, value);
}

}  // namespace

Violation padding_is_unread(const Case& c) {
  // Each batch entry has its own padding, so each is poisoned alone.
  for (Index b = 0; b < c.problem.batch; ++b) {
    CaseTensors tensors = c.tensors.copy();
    const Index seen = c.problem.visible_key_len(b);
    for (Index j = seen; j < c.problem.key_len; ++j) poison(tensors, j, kNaN);
    const auto same_entry = [b](Index entry, Index, Index) { return entry == b; };
    const std::string what = fmt::format("with NaN in keys and values from {} on", seen);
    if (Violation violation = changed_row(c, tensors, what, same_entry)) return violation;
    for (Index h = 0; h < c.problem.num_heads; ++h) {
      const Rows rows = c.attention->definition(tensors.inputs(), b, h)->rows(c.queries);
      if (rows.weights == c.expected(b, h).rows.weights) continue;
      return fmt::format("{}: the definition of batch {}, head {} changes", what, b, h);
    }
  }
  return std::nullopt;
}

Violation unweighed_is_unread(const Case& c) {
  const auto weighs = [&](Index b, Index h, Index i, Index j) {
    return c.expected(b, h).rows.weights(i, j) != 0;
  };
  std::set<Index> tokens = some_tokens(c.problem.key_len);
  if (c.problem.key_len > 0) tokens.insert(0);
  for (Index j : tokens) {
    CaseTensors tensors = c.tensors.copy();
    tensors.fill_value(j, kNaN);
    // Where the content decides, the key must be looked at to be left out.
    if (!c.traits.content_based) tensors.fill_key(j, kNaN);
    const std::string what = fmt::format("with NaN in {} of token {}, which the row does not weigh",
                                         c.traits.content_based ? "the value" : "key and value", j);
    if (Violation violation = changed_row(
            c, tensors, what, [&](Index b, Index h, Index i) { return !weighs(b, h, i, j); })) {
      return violation;
    }
  }
  return std::nullopt;
}

Violation refuses_causal(const Case& c) {
  if (c.traits.causality != Traits::Causality::none) return std::nullopt;
  return "declares no causality, but accepts a causal problem";
}

Violation future_is_unread(const Case& c) {
  for (Index token : some_tokens(c.problem.key_len)) {
    for (float value : {kNaN, 1e30f}) {
      CaseTensors tensors = c.tensors.copy();
      for (Index j = token; j < c.problem.key_len; ++j) poison(tensors, j, value);
      for (Index i = 0; i < c.problem.query_len; ++i) {
        if (c.problem.position(i) >= token) tensors.fill_query(i, value);
      }
      const std::string what = fmt::format("with {} in every token from {} on", value, token);
      if (Violation violation = changed_row(c, tensors, what, [&](Index, Index, Index i) {
            return c.problem.position(i) < token;
          })) {
        return violation;
      }
    }
  }
  return std::nullopt;
}

Violation selection_sees_directions(const Case& c) {
  for (Index token : some_tokens(c.problem.key_len)) {
    for (float value : {kNaN, 1e30f}) {
      CaseTensors tensors = c.tensors.copy();
      for (Index j = token; j < c.problem.key_len; ++j) {
        tensors.fill_value(j, value);
        tensors.scale_key(j, j % 2 == 0 ? 4.0f : 0.25f);  // powers of two: exact
      }
      const std::string what =
          fmt::format("with {} in values and scaled keys from token {} on", value, token);
      if (Violation violation = changed_row(c, tensors, what, [&](Index, Index, Index i) {
            return c.problem.position(i) < token;
          })) {
        return violation;
      }
    }
  }
  return std::nullopt;
}

}  // namespace longattn

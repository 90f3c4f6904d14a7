#include "tests/variants/brute_force.h"

#include <gtest/gtest.h>

namespace longattn {
namespace {

// Counted without documents: they only ever leave fewer.
double shown_pairs(const PatternCase& c) {
  Problem p = c.problem;
  p.mask.document_ids.clear();
  double pairs = 0;
  for (Index b = 0; b < p.batch; ++b) {
    for (Index h = 0; h < p.num_heads; ++h) {
      for (Index i = 0; i < p.query_len; ++i) {
        for (Index j = 0; j < p.key_len; ++j) {
          pairs += mask_shows(p, b, i, j) && c.pattern(h, p.position(i), j) ? 1 : 0;
        }
      }
    }
  }
  return pairs;
}

}  // namespace

void expect_as_written_out(const PatternCase& c, Dice& dice) {
  const Problem& p = c.problem;
  const auto rows = [&](const DrawnTensors& t, Index b, Index h) {
    const Share share = [&](Index i, Index j) { return c.pattern(h, p.position(i), j) ? 1 : 0; };
    Rows result = softmax_rows(p, t, b, h, share);
    if (c.own_projections.empty()) return result;
    const Rows own = softmax_rows(p, b, h, t.all(3, b, h), t.all(4, b, p.kv_head(h)), share);
    for (Index i = 0; i < p.query_len; ++i) {
      if (!c.own_projections.contains(p.position(i))) continue;
      result.weights.row(i) = own.weights.row(i);
      result.score_bound[i] = own.score_bound[i];
      result.logsumexp[i] = own.logsumexp[i];
      result.value_source[static_cast<size_t>(i)] = 3;
    }
    return result;
  };
  expect_as_written_out(WrittenCase{c.variant, p, c.options, rows, !c.own_projections.empty()},
                        dice);
  const Cost cost = make_with(*c.variant, p, c.options)->cost(1);
  EXPECT_EQ(cost.scored_pairs, shown_pairs(c));
  EXPECT_EQ(cost.flops, 2 * static_cast<double>(p.head_dim + p.value_dim) * cost.scored_pairs);
}

}  // namespace longattn

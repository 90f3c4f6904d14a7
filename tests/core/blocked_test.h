#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/blocked_attention.h"
#include "core/softmax_definition.h"
#include "tests/test_tensors.h"

namespace longattn {

inline Problem small_problem(Index query_len, Index key_len) {
  Problem p;
  p.num_heads = 2;
  p.num_kv_heads = 1;
  p.query_len = query_len;
  p.key_len = key_len;
  p.head_dim = 20;
  p.value_dim = 36;
  return p;
}

// Both against the definition: |difference| <= 2 (u (S + D) + r) sum |w v|, computed as in
// tolerance.h but for one row at a time so that nothing is shared with it. The output is of
// `stored`, the same problem in another storage.
inline void expect_rows_equal_definition(const Problem& p, const ProblemTensors& t,
                                         const Tensor& output, Index key_block,
                                         const KeyPredicate& allowed, const Problem& stored) {
  const Attention::Rounding rounding = blocked_rounding(stored, key_block);
  for (Index h = 0; h < p.num_heads; ++h) {
    const auto definition = softmax_definition(p, t.inputs(), 0, h, allowed);
    for (Index i = 0; i < p.query_len; ++i) {
      const std::vector<Index> query = {i};
      const Rows rows = definition->rows(query);
      const double factor =
          0x1p-23 * (rounding.score_roundings * rows.score_bound(0) + rounding.sum_roundings) +
          2 * rounding.probability_rounding;
      for (Index c = 0; c < p.value_dim; ++c) {
        double exact = 0, absolute = 0;
        for (Index j = 0; j < p.key_len; ++j) {
          const double value = t.values.view().float_row(0, p.kv_head(h), j)[c];
          exact += rows.weights(0, j) * value;
          absolute += std::abs(rows.weights(0, j) * value);
        }
        const double found = output.view().float_row(0, h, i)[c];
        ASSERT_LE(std::abs(found - exact), factor * absolute) << "row " << i << " column " << c;
      }
    }
  }
}

inline void expect_rows_equal_definition(const Problem& p, const ProblemTensors& t,
                                         const Tensor& output, Index key_block,
                                         const KeyPredicate& allowed = {}) {
  expect_rows_equal_definition(p, t, output, key_block, allowed, p);
}

// What some tensors hold after a trip through narrower storage, in that storage and as floats.
struct Narrowed {
  Narrowed(ProblemTensors& t, DType dtype) {
    const auto through = [&](Tensor& floats) {
      Tensor narrow(floats.shape(), dtype);
      store_floats(dtype, floats.floats(), floats.size(), narrow.bytes_begin());
      load_floats(dtype, narrow.bytes_begin(), floats.size(), floats.floats());
      return narrow;
    };
    queries = through(t.queries);
    keys = through(t.keys);
    values = through(t.values);
  }
  Inputs inputs() const { return {queries.view(), keys.view(), values.view(), {}}; }
  Tensor queries, keys, values;
};

}  // namespace longattn

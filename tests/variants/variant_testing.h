#pragma once

#include "tests/variants/pattern_testing.h"

namespace longattn {

/// One head over its own keys, as many queries, of `dim` elements.
inline Problem problem_of(Index len, Index dim = 4) {
  Problem p = square_problem(len);
  p.head_dim = p.value_dim = dim;
  return p;
}

/// All rows of W of the first batch entry.
inline Eigen::MatrixXd all_weights(const Attention& attention, const Inputs& inputs,
                                   Index head = 0) {
  return attention.definition(inputs, 0, head)->rows(all_queries(attention.problem())).weights;
}

/// Runs forward on two threads and returns the worst |forward - W V| as a share of the tolerance of
/// `attention`, with W of `judge`, over all heads and batch entries.
inline double forward_ratio(const Attention& attention, const Attention& judge, ProblemTensors& t) {
  const Problem& p = attention.problem();
  Context context(2);
  attention.forward(t.inputs(), t.output_alone(), context);
  const std::vector<Index> queries = all_queries(p);
  double worst = 0;
  for (Index b = 0; b < p.batch; ++b) {
    for (Index h = 0; h < p.num_heads; ++h) {
      const auto own = attention.definition(t.inputs(), b, h);
      const auto other = judge.definition(t.inputs(), b, h);
      ExpectedRows expected = expected_rows(attention, t.inputs(), *own, b, h, queries);
      expected.output = weigh_values(p, t.inputs(), other->rows(queries), b, h);
      Eigen::MatrixXd output(p.query_len, p.value_dim);
      for (Index i = 0; i < p.query_len; ++i) {
        for (Index c = 0; c < p.value_dim; ++c) {
          output(i, c) = static_cast<double>(t.output.view().float_row(b, h, i)[c]);
        }
      }
      worst = std::max(worst, worst_ratio(expected, output));
    }
  }
  return worst;
}

}  // namespace longattn

#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/tolerance.h"
#include "experiments/check/check.h"
#include "tests/test_tensors.h"

namespace longattn {

/// One head over `len` queries and keys, of 4 elements.
inline Problem square_problem(Index len, bool causal = false) {
  Problem p;
  p.num_heads = p.num_kv_heads = 1;
  p.query_len = p.key_len = len;
  p.head_dim = p.value_dim = 4;
  p.mask.causal = causal;
  return p;
}

/// The same with `dim` elements.
inline Problem problem_of(Index len, Index dim = 4) {
  Problem p = square_problem(len);
  p.head_dim = p.value_dim = dim;
  return p;
}

using OptionTexts = std::vector<std::pair<std::string, std::string>>;
inline std::unique_ptr<const Attention> make_with(const Variant& variant, const Problem& p,
                                                  const OptionTexts& options) {
  return make_attention(variant, p, Options(variant.options, options));
}
inline Traits traits_with(const Variant& variant, const Problem& p, const OptionTexts& options) {
  return variant.traits(p, Options(variant.options, options));
}

inline std::vector<Index> all_queries(const Problem& p) {
  std::vector<Index> queries;
  for (Index i = 0; i < p.query_len; ++i) queries.push_back(i);
  return queries;
}

/// Every row of the definition of one head.
inline Rows all_rows(const Attention& attention, const Inputs& inputs, Index head = 0,
                     Index batch_entry = 0) {
  return attention.definition(inputs, batch_entry, head)->rows(all_queries(attention.problem()));
}
/// All rows of W of the first batch entry.
inline Eigen::MatrixXd all_weights(const Attention& attention, const Inputs& inputs,
                                   Index head = 0) {
  return all_rows(attention, inputs, head).weights;
}

/// Which keys each query of a head weighs, by the definition: one row of 0 and 1 a query.
inline std::vector<std::string> picture(const Attention& attention, Index head = 0) {
  const Problem& p = attention.problem();
  const ProblemTensors t(p);
  const Rows rows = attention.definition(t.inputs(), 0, head)->rows(all_queries(p));
  std::vector<std::string> lines;
  for (Index i = 0; i < p.query_len; ++i) {
    std::string line;
    for (Index j = 0; j < p.key_len; ++j) line += rows.weights(i, j) > 0 ? '1' : '0';
    lines.push_back(line);
  }
  return lines;
}

/// Pairs that the definition weighs, over all heads; of one batch entry.
inline double counted_pairs(const Attention& attention) {
  double pairs = 0;
  for (Index h = 0; h < attention.problem().num_heads; ++h) {
    for (const std::string& line : picture(attention, h)) {
      pairs += static_cast<double>(std::ranges::count(line, '1'));
    }
  }
  return pairs;
}

/// One head of an output, [queries, value_dim].
inline Eigen::MatrixXd output_rows(const Problem& p, const Tensor& output, Index b, Index h) {
  Eigen::MatrixXd rows(p.query_len, p.value_dim);
  for (Index i = 0; i < p.query_len; ++i) {
    for (Index c = 0; c < p.value_dim; ++c) {
      rows(i, c) = static_cast<double>(output.view().float_row(b, h, i)[c]);
    }
  }
  return rows;
}

/// The worst |output - W V| of what the tensors hold, over all heads and batch entries, as a share
/// of the tolerance for the roundings of `attention`; W, and the magnitudes behind it, of `judge`.
inline double output_ratio(const Attention& attention, const Attention& judge,
                           const ProblemTensors& t) {
  const Problem& p = attention.problem();
  double worst = 0;
  for (Index b = 0; b < p.batch; ++b) {
    for (Index h = 0; h < p.num_heads; ++h) {
      const auto definition = judge.definition(t.inputs(), b, h);
      const ExpectedRows expected =
          expected_rows(attention, t.inputs(), *definition, b, h, all_queries(p));
      worst = std::max(worst, worst_ratio(expected, output_rows(p, t.output, b, h)));
    }
  }
  return worst;
}

/// Forward of every head is within tolerance of W V of `expected`'s definition.
inline void expect_forward_equals(const Attention& attention, const Attention& expected) {
  ProblemTensors t(attention.problem());
  Context context(2);
  attention.forward(t.inputs(), t.output_alone(), context);
  EXPECT_LE(output_ratio(attention, expected, t), 1);
}

/// Runs forward on two threads and returns the worst |forward - W V| with W of `judge`, as a share
/// of the tolerance that `attention`'s own definition gives.
inline double forward_ratio(const Attention& attention, const Attention& judge, ProblemTensors& t) {
  const Problem& p = attention.problem();
  Context context(2);
  attention.forward(t.inputs(), t.output_alone(), context);
  double worst = 0;
  for (Index b = 0; b < p.batch; ++b) {
    for (Index h = 0; h < p.num_heads; ++h) {
      const auto own = attention.definition(t.inputs(), b, h);
      ExpectedRows expected = expected_rows(attention, t.inputs(), *own, b, h, all_queries(p));
      expected.output = weigh_values(p, t.inputs(), all_rows(judge, t.inputs(), h, b), b, h);
      worst = std::max(worst, worst_ratio(expected, output_rows(p, t.output, b, h)));
    }
  }
  return worst;
}

/// The whole conformance kit on a variant whose defaults are others: for settings that must be
/// changed together.
inline void expect_conformance(Variant variant, const OptionTexts& defaults) {
  for (const auto& [name, text] : defaults) {
    for (Option& option : variant.options) {
      if (option.name == name) option.default_value = parse_option(option, text);
    }
  }
  CheckSettings settings;
  settings.max_settings = 1;
  const CheckReport report = check_variant(variant, settings);
  EXPECT_GT(report.cases, 20);  // what the variant refuses is not among them
  for (const BrokenLaw& violation : report.violations) {
    ADD_FAILURE() << violation.law << ": " << violation.problem << ": " << violation.detail;
  }
}

}  // namespace longattn

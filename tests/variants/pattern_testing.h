#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/tolerance.h"
#include "experiments/check/check.h"
#include "tests/test_tensors.h"

namespace longattn {

/// One head over `len` queries and keys.
inline Problem square_problem(Index len, bool causal = false) {
  Problem p;
  p.num_heads = p.num_kv_heads = 1;
  p.query_len = p.key_len = len;
  p.head_dim = p.value_dim = 4;
  p.mask.causal = causal;
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

/// Forward of every head is within tolerance of W V of `expected`'s definition.
inline void expect_forward_equals(const Attention& attention, const Attention& expected) {
  const Problem& p = attention.problem();
  ProblemTensors t(p);
  Context context(2);
  attention.forward(t.inputs(), t.output_alone(), context);
  for (Index h = 0; h < p.num_heads; ++h) {
    const auto definition = expected.definition(t.inputs(), 0, h);
    const ExpectedRows rows =
        expected_rows(attention, t.inputs(), *definition, 0, h, all_queries(p));
    Eigen::MatrixXd output(p.query_len, p.value_dim);
    for (Index i = 0; i < p.query_len; ++i) {
      for (Index c = 0; c < p.value_dim; ++c) output(i, c) = t.output.view().float_row(0, h, i)[c];
    }
    EXPECT_LE(worst_ratio(rows, output), 1) << "head " << h;
  }
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
  for (const Finding& finding : report.findings) {
    ADD_FAILURE() << finding.law << ": " << finding.problem << ": " << finding.detail;
  }
}

}  // namespace longattn

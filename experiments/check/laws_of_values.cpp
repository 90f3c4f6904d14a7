// Laws about what the output is.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "experiments/check/laws.h"

namespace longattn {
namespace {

// Calls body(batch entry, head) until it reports a violation.
template <class Body>
Violation for_each_head(const Case& c, Body body) {
  for (Index b = 0; b < c.problem.batch; ++b) {
    for (Index h = 0; h < c.problem.num_heads; ++h) {
      if (Violation violation = body(b, h)) return violation;
    }
  }
  return std::nullopt;
}

std::string place(const Case& c, Index b, Index h, Index r) {
  return fmt::format("batch {}, head {}, query {}", b, h, c.queries[static_cast<size_t>(r)]);
}

// The first element of `found` that is further from `expected` than `tolerance`; NaN is.
Violation outside_tolerance(const Case& c, Index b, Index h, const Eigen::MatrixXd& found,
                            const Eigen::MatrixXd& expected, const Eigen::MatrixXd& tolerance) {
  for (Index r = 0; r < found.rows(); ++r) {
    for (Index col = 0; col < found.cols(); ++col) {
      const double error = std::abs(found(r, col) - expected(r, col));
      if (error <= tolerance(r, col)) continue;
      return fmt::format("{}, column {}: {} instead of {}: off by {:.3g}, tolerance {:.3g}",
                         place(c, b, h, r), col, found(r, col), expected(r, col), error,
                         tolerance(r, col));
    }
  }
  return std::nullopt;
}

}  // namespace

Violation forward_equals_definition(const Case& c) {
  return for_each_head(c, [&](Index b, Index h) -> Violation {
    const ExpectedRows& expected = c.expected(b, h);
    const Eigen::MatrixXd found = rows_of(c.result().output, b, h, c.queries);
    if (worst_ratio(expected, found) <= 1) return std::nullopt;
    return outside_tolerance(c, b, h, found, expected.output, expected.tolerance);
  });
}

// A variant could pass every gate by declaring a huge tolerance. A score is a sum of head_dim
// products, or of key_len + head_dim where keys are projected first; an output one of key_len. Ten
// times that leaves room for any algorithm that works. Only what is stored as bfloat16, by the
// Problem or because an option says so, may be rounded to it.
Violation rounding_is_declared(const Case& c) {
  const Attention::Rounding rounding = c.attention->rounding();
  const auto keys = static_cast<double>(c.problem.key_len);
  const double limit = 10 * (keys + static_cast<double>(c.problem.head_dim)) + 100;
  const bool asked = std::ranges::any_of(c.options.all(), [](const auto& option) {
    return to_text(option.second) == to_string(DType::bfloat16);
  });
  const double unit = asked || c.problem.dtype == DType::bfloat16 ? 0x1p-9 : 0.0;
  if (!(rounding.probability_rounding >= 0 && rounding.probability_rounding <= unit)) {
    return fmt::format("probabilities rounded by {} declared, at most {} is credible",
                       rounding.probability_rounding, unit);
  }
  for (double declared : {rounding.score_roundings, rounding.sum_roundings}) {
    if (declared >= 0 && declared <= limit) continue;
    return fmt::format("{} roundings declared, at most {} are credible", declared, limit);
  }
  return std::nullopt;
}

namespace {

Violation refuses_logsumexp(const Case& c) {
  Tensor output({c.problem.batch, c.problem.num_heads, c.problem.query_len, c.problem.value_dim});
  Tensor logsumexp({c.problem.batch, c.problem.num_heads, c.problem.query_len, 1});
  Context context;
  try {
    c.attention->forward(c.inputs(), {output.mutable_view(), logsumexp.mutable_view()}, context);
  } catch (const UnsupportedError&) {
    return std::nullopt;
  }
  return "logsumexp is declared undefined, but asking for it was not refused";
}

}  // namespace

Violation logsumexp_is_right(const Case& c) {
  if (!c.attention->has_logsumexp()) return refuses_logsumexp(c);
  Context context;
  Result alone;
  alone.output = Tensor(c.result().output.shape());
  c.attention->forward(c.inputs(), {alone.output.mutable_view(), {}}, context);
  if (Violation violation = difference(alone, c.result())) {
    return "without asking for logsumexp, " + *violation;
  }
  Attention::Rounding rounding = c.attention->rounding();
  if (rounding.score_roundings == 0) {
    rounding.score_roundings = static_cast<double>(c.problem.head_dim) + 4;
  }
  if (rounding.sum_roundings == 0) {
    rounding.sum_roundings = static_cast<double>(c.problem.key_len) + 4;
  }
  return for_each_head(c, [&](Index b, Index h) -> Violation {
    const Rows& rows = c.expected(b, h).rows;
    const Eigen::MatrixXd found = rows_of(c.result().logsumexp, b, h, c.queries);
    if (rows.logsumexp.size() != found.rows()) {
      return fmt::format("the definition gives {} logsumexps, expected {}", rows.logsumexp.size(),
                         found.rows());
    }
    for (Index r = 0; r < found.rows(); ++r) {
      const double expected = rows.logsumexp(r);
      if (found(r, 0) == expected) continue;  // -inf of a row that sees nothing
      const double tolerance =
          0x1p-23 * (rounding.score_roundings * rows.score_bound(r) + rounding.sum_roundings) +
          2 * rounding.probability_rounding + 0x1p-24 * std::abs(expected);
      if (std::isfinite(expected) && std::abs(found(r, 0) - expected) <= tolerance) continue;
      return fmt::format("{}: logsumexp {} instead of {}, tolerance {:.3g}", place(c, b, h, r),
                         found(r, 0), expected, tolerance);
    }
    return std::nullopt;
  });
}

Violation definition_keeps_the_mask(const Case& c) {
  return for_each_head(c, [&](Index b, Index h) -> Violation {
    const Eigen::MatrixXd& weights = c.expected(b, h).rows.weights;
    for (Index r = 0; r < weights.rows(); ++r) {
      for (Index j = 0; j < weights.cols(); ++j) {
        const bool visible = c.problem.visible(b, c.queries[static_cast<size_t>(r)], j);
        if (visible ? std::isfinite(weights(r, j)) : weights(r, j) == 0) continue;
        return fmt::format("{}: weight {} on {} key {}", place(c, b, h, r), weights(r, j),
                           visible ? "visible" : "hidden", j);
      }
    }
    return std::nullopt;
  });
}

Violation equals_full_attention(const Case& c) {
  return for_each_head(c, [&](Index b, Index h) -> Violation {
    const ExpectedRows& expected = c.expected(b, h);
    const FullRows& full = c.full(b, h);
    for (Index r = 0; r < full.weights.rows(); ++r) {
      for (Index j = 0; j < full.weights.cols(); ++j) {
        const double error = std::abs(expected.rows.weights(r, j) - full.weights(r, j));
        if (error <= 1e-12 + full.slack(r) * full.weights(r, j)) continue;
        return fmt::format("{}, key {}: the definition weighs {}, full attention {}",
                           place(c, b, h, r), j, expected.rows.weights(r, j), full.weights(r, j));
      }
    }
    return outside_tolerance(c, b, h, rows_of(c.result().output, b, h, c.queries), full.output,
                             expected.tolerance);
  });
}

Violation constants_stay(const Case& c) {
  if (Violation violation = for_each_head(c, [&](Index b, Index h) -> Violation {
        const Eigen::MatrixXd& weights = c.expected(b, h).rows.weights;
        for (Index r = 0; r < weights.rows(); ++r) {
          const double sum = weights.row(r).sum();
          if (sum == 0 || std::abs(sum - 1) <= 1e-12) continue;
          return fmt::format("{}: the definition's weights sum to {}", place(c, b, h, r), sum);
        }
        return std::nullopt;
      })) {
    return violation;
  }
  constexpr float kConstant = -0.75f;  // every storage type holds it
  CaseTensors tensors = c.tensors.copy();
  for (Index j = 0; j < c.problem.key_len; ++j) tensors.fill_value(j, kConstant);
  const Result result = run_forward(*c.attention, tensors.inputs());
  return for_each_head(c, [&](Index b, Index h) -> Violation {
    const auto definition = c.attention->definition(tensors.inputs(), b, h);
    const ExpectedRows expected =
        expected_rows(*c.attention, tensors.inputs(), *definition, b, h, c.queries);
    Eigen::MatrixXd constant = expected.output;
    for (Index r = 0; r < constant.rows(); ++r) {
      const bool zero = expected.rows.weights.row(r).isZero(0);
      constant.row(r).setConstant(zero ? 0.0 : static_cast<double>(kConstant));
    }
    return outside_tolerance(c, b, h, rows_of(result.output, b, h, c.queries), constant,
                             expected.tolerance);
  });
}

Violation outputs_stay_inside(const Case& c) {
  return for_each_head(c, [&](Index b, Index h) -> Violation {
    const ExpectedRows& expected = c.expected(b, h);
    const Eigen::MatrixXd found = rows_of(c.result().output, b, h, c.queries);
    const Index width = c.problem.value_dim;
    Eigen::MatrixXd values(c.problem.key_len, width);
    Eigen::VectorXd row(width);
    for (Index j = 0; j < c.problem.key_len; ++j) {
      load_row(c.inputs().values, b, c.problem.kv_head(h), j, row.data());
      values.row(j) = row;
    }
    for (Index r = 0; r < found.rows(); ++r) {
      Eigen::VectorXd least = Eigen::VectorXd::Constant(width, 0), largest = least;
      bool any = false;
      for (Index j = 0; j < c.problem.key_len; ++j) {
        if (!c.problem.visible(b, c.queries[static_cast<size_t>(r)], j)) continue;
        const Eigen::VectorXd value = values.row(j);
        least = any ? least.cwiseMin(value).eval() : value;
        largest = any ? largest.cwiseMax(value).eval() : value;
        any = true;
      }
      // A row without weights is zero, wherever its values lie.
      if (expected.rows.weights.row(r).isZero(0)) least.setZero(), largest.setZero();
      for (Index col = 0; col < width; ++col) {
        const double tolerance = expected.tolerance(r, col);
        if (found(r, col) >= least(col) - tolerance && found(r, col) <= largest(col) + tolerance) {
          continue;
        }
        return fmt::format("{}, column {}: {} lies outside {}..{}, tolerance {:.3g}",
                           place(c, b, h, r), col, found(r, col), least(col), largest(col),
                           tolerance);
      }
    }
    return std::nullopt;
  });
}

namespace {

Violation unequal(const std::string& where, const char* what, double found, double expected,
                  double tolerance) {
  if (std::abs(found - expected) <= tolerance) return std::nullopt;
  return fmt::format("{}: {} is {}, expected {}", where, what, found, expected);
}

// For softmax on a subset A of the visible keys, with rho = sum_A P and tau = 1 - rho,
// TV(P, W) = tau, KL(W || P) = -log rho, o - o^ = sum_{not A} P v - tau o^.
Violation row_identities(const Case& c, Index b, Index h, Index r, const Eigen::MatrixXd& values) {
  const FullRows& full = c.full(b, h);
  const ExpectedRows& expected = c.expected(b, h);
  double captured = 0, lost = 0, variation = 0, divergence = 0;
  Eigen::VectorXd tail = Eigen::VectorXd::Zero(c.problem.value_dim), absolute = tail;
  for (Index j = 0; j < c.problem.key_len; ++j) {
    const double w = expected.rows.weights(r, j), p = full.weights(r, j);
    if (!std::isfinite(full.log_weights(r, j))) continue;  // hidden: the law `mask`
    variation += std::abs(p - w) / 2;
    absolute += p * values.row(j).transpose().cwiseAbs();
    if (w != 0) {
      captured += p;
      divergence += w * (std::log(w) - full.log_weights(r, j));
    } else {
      lost += p;
      tail += p * values.row(j).transpose();
    }
  }
  const std::string where = place(c, b, h, r);
  const double tolerance = 1e-12 + full.slack(r);
  if (captured == 0) return std::nullopt;  // weighs nothing: there is nothing to be equal
  if (auto v = unequal(where, "TV to full attention", variation, lost, tolerance)) return v;
  const double expected_divergence = -std::log(captured);
  if (auto v = unequal(where, "KL from full attention", divergence, expected_divergence,
                       tolerance + 1e-12 * std::abs(expected_divergence))) {
    return v;
  }
  for (Index col = 0; col < c.problem.value_dim; ++col) {
    const double approximate = expected.output(r, col);
    if (auto v = unequal(where, "error against full attention", full.output(r, col) - approximate,
                         tail(col) - lost * approximate,
                         tolerance * (absolute(col) + std::abs(approximate)))) {
      return v;
    }
  }
  return std::nullopt;
}

}  // namespace

Violation restriction_identities(const Case& c) {
  return for_each_head(c, [&](Index b, Index h) -> Violation {
    Eigen::MatrixXd values = Eigen::MatrixXd::Zero(c.problem.key_len, c.problem.value_dim);
    Eigen::VectorXd row(c.problem.value_dim);
    for (Index j = 0; j < c.problem.key_len; ++j) {
      load_row(c.inputs().values, b, c.problem.kv_head(h), j, row.data());
      values.row(j) = row;
    }
    for (Index r = 0; r < static_cast<Index>(c.queries.size()); ++r) {
      if (Violation violation = row_identities(c, b, h, r, values)) return violation;
    }
    return std::nullopt;
  });
}

}  // namespace longattn

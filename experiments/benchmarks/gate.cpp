#include "experiments/benchmarks/gate.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "core/random.h"
#include "core/tolerance.h"

namespace longattn::benchmarks {
namespace {

std::vector<Index> rows_to_check(Index query_len, Index group) {
  const CounterRandom random(1, make_stream(0xBE7C, static_cast<std::uint64_t>(group)));
  std::vector<Index> rows = {0, permuted(random, query_len, 0),
                             permuted(random, query_len, query_len / 2), query_len - 1};
  std::ranges::sort(rows);
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  return rows;
}

}  // namespace

std::string refusal(const Attention& attention, const Inputs& inputs, const ConstTensorView& output,
                    double absolute_bound) {
  const Problem& p = attention.problem();
  for (Index group = 0; group < p.batch * p.num_heads; ++group) {
    const Index b = group / p.num_heads, head = group % p.num_heads;
    const std::vector<Index> rows = rows_to_check(p.query_len, group);
    const auto definition = attention.definition(inputs, b, head);
    ExpectedRows expected = expected_rows(attention, inputs, *definition, b, head, rows);
    if (absolute_bound > 0) expected.tolerance.setConstant(absolute_bound);
    Eigen::MatrixXd forward(static_cast<Index>(rows.size()), p.value_dim);
    Eigen::VectorXd row(p.value_dim);
    for (size_t r = 0; r < rows.size(); ++r) {
      load_row(output, b, head, rows[r], row.data());
      forward.row(static_cast<Index>(r)) = row.transpose();
    }
    const double ratio = worst_ratio(expected, forward);
    if (ratio <= 1) continue;
    return fmt::format("wrong: head {} differs from the definition by {:.3g} of the tolerance",
                       head, ratio);
  }
  return "";
}

}  // namespace longattn::benchmarks

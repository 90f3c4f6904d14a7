#include "experiments/report/table_row.h"

#include <cmath>

namespace longattn {

void TableRow::add_bytes(std::string name, const std::optional<double>& value) {
  const bool whole = value && std::abs(*value) < 0x1p53 && std::floor(*value) == *value;
  if (!whole) return add_optional(std::move(name), value);
  add(std::move(name), static_cast<Index>(*value));
}

void TableRow::add_interval(const std::string& name, const std::optional<Estimate>& estimate) {
  const auto part = [&](double Estimate::*member) {
    return estimate ? Field((*estimate).*member) : Field();
  };
  add(name, part(&Estimate::value));
  add(name + "_low", part(&Estimate::low));
  add(name + "_high", part(&Estimate::high));
}

void TableRow::add_problem(const Cell& cell) {
  const Problem& problem = cell.problem;
  add("input", cell.input.label);
  add("batch", problem.batch);
  add("num_heads", problem.num_heads);
  add("num_kv_heads", problem.num_kv_heads);
  add("query_len", problem.query_len);
  add("key_len", problem.key_len);
  add("head_dim", problem.head_dim);
  add("value_dim", problem.value_dim);
  add("dtype", std::string(to_string(problem.dtype)));
  add("causal", problem.mask.causal);
  add("scale", problem.effective_scale());
  add("threads", Index{cell.threads});
}

}  // namespace longattn

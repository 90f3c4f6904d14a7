#include "core/parameter_count.h"

#include <fmt/format.h>

#include <limits>
#include <string_view>

#include "core/error.h"

namespace longattn {
namespace {

constexpr Index kMost = std::numeric_limits<Index>::max();

void check(const ModelShape& s) {
  const auto at_least_one = [](std::string_view name, Index value) {
    if (value < 1) throw ProblemError(fmt::format("{} {} is below 1", name, value));
  };
  at_least_one("model_dim", s.model_dim);
  at_least_one("head_dim", s.head_dim);
  at_least_one("value_dim", s.value_dim);
  at_least_one("num_heads", s.num_heads);
  at_least_one("num_kv_heads", s.num_kv_heads);
  at_least_one("layers", s.layers);
  at_least_one("feed_forward_dim", s.feed_forward_dim);
  at_least_one("vocabulary", s.vocabulary);
  if (s.num_heads % s.num_kv_heads != 0) {
    throw ProblemError(fmt::format("num_heads {} is not a multiple of num_kv_heads {}", s.num_heads,
                                   s.num_kv_heads));
  }
}

[[noreturn]] void too_many(std::string_view part) {
  throw ProblemError(fmt::format("{}: more than {} parameters", part, kMost));
}

Index product(std::string_view part, const std::vector<Index>& factors) {
  Index result = 1;
  for (Index factor : factors) {
    if (result > kMost / factor) too_many(part);
    result *= factor;
  }
  return result;
}

}  // namespace

ParameterTable count_parameters(const ModelShape& s) {
  check(s);
  ParameterTable table;
  const auto add = [&](const char* part, std::vector<Index> factors, Index matrices) {
    const Index parameters = product(part, factors);
    if (table.total > kMost - parameters) too_many("total");
    table.total += parameters;
    table.matrices += matrices;  // no more than parameters, so it fits
    table.rows.push_back({part, std::move(factors), matrices, parameters});
    return parameters;
  };
  const Index query_heads = product("Query", {s.num_heads, s.layers});
  const Index kv_heads = product("Key", {s.num_kv_heads, s.layers});
  add("Embedding", {s.model_dim, s.vocabulary}, 1);
  table.attention += add("Key", {s.head_dim, s.model_dim, s.num_kv_heads, s.layers}, kv_heads);
  table.attention += add("Query", {s.head_dim, s.model_dim, s.num_heads, s.layers}, query_heads);
  table.attention +=
      add("Value (down)", {s.value_dim, s.model_dim, s.num_kv_heads, s.layers}, kv_heads);
  table.attention +=
      add("Output (value up)", {s.model_dim, s.value_dim, s.num_heads, s.layers}, s.layers);
  add("Up-projection", {s.feed_forward_dim, s.model_dim, s.layers}, s.layers);
  add("Down-projection", {s.model_dim, s.feed_forward_dim, s.layers}, s.layers);
  add("Unembedding", {s.vocabulary, s.model_dim}, 1);
  return table;
}

}  // namespace longattn

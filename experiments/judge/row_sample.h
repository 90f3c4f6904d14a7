#pragma once

#include <cstdint>
#include <vector>

#include "core/random.h"
#include "core/types.h"

namespace longattn {

/// `count` (at least 1, at most len) of 0 .. len - 1, ascending: the range is cut into as many
/// stretches of nearly equal length, and one is drawn from each.
std::vector<Index> sample_stretches(Index len, Index count, const CounterRandom& random);

/// Some query rows of one (batch entry, head), judged together.
struct RowChunk {
  Index batch_entry = 0, head = 0;
  std::vector<Index> queries;  ///< ascending, at most kRowsAtOnce
  bool pinned = false;
};
constexpr Index kRowsAtOnce = 8;

/// Rows to judge. Random ones, about `rows` in all and at least one for every (batch entry, head):
/// by sample_stretches, so that early and late rows, which see few and many keys under a causal
/// mask, have their share. A set that holds a share f of the rows is missed by n of them with a
/// chance of at most (1 - f)^n, as if all were drawn at random. Pinned ones: the first and the last
/// query, of every head up to a quarter of `rows` in all; they are no random sample and enter no
/// statistic.
std::vector<RowChunk> sample_rows(const Problem& problem, Index rows, std::uint64_t seed);

/// Whether the random rows are all that there are.
bool is_census(const Problem& problem, Index sampled_rows);

}  // namespace longattn

#include "experiments/judge/row_sample.h"

#include <algorithm>

namespace longattn {
namespace {

// Appends the queries of one group in chunks.
void add_chunks(RowChunk chunk, const std::vector<Index>& queries, std::vector<RowChunk>& chunks) {
  for (size_t n = 0; n < queries.size(); n += kRowsAtOnce) {
    const auto begin = queries.begin() + static_cast<std::ptrdiff_t>(n);
    chunk.queries.assign(begin,
                         begin + std::min<std::ptrdiff_t>(kRowsAtOnce, queries.end() - begin));
    chunks.push_back(chunk);
  }
}

}  // namespace

std::vector<Index> sample_stretches(Index len, Index count, const CounterRandom& random) {
  std::vector<Index> sample;
  for (Index n = 0; n < count; ++n) {
    const Index first = len * n / count, last = len * (n + 1) / count;
    sample.push_back(first +
                     static_cast<Index>(random.below(static_cast<std::uint64_t>(n),
                                                     static_cast<std::uint64_t>(last - first))));
  }
  return sample;
}

std::vector<RowChunk> sample_rows(const Problem& p, Index rows, std::uint64_t seed) {
  std::vector<RowChunk> chunks;
  if (p.query_len == 0) return chunks;
  const Index groups = p.batch * p.num_heads;
  for (Index group = 0; group < groups; ++group) {
    const Index share = rows * (group + 1) / groups - rows * group / groups;
    const Index count = std::clamp<Index>(share, 1, p.query_len);
    const CounterRandom random(seed, make_stream(0x50B5, static_cast<std::uint64_t>(group)));
    add_chunks({group / p.num_heads, group % p.num_heads, {}, false},
               sample_stretches(p.query_len, count, random), chunks);
  }
  std::vector<Index> ends = {0, p.query_len - 1};
  if (p.query_len == 1) ends.pop_back();
  const Index pinned = std::clamp<Index>(rows / 8, 1, groups);
  for (Index n = 0; n < pinned; ++n) {
    const Index group = groups * n / pinned;
    add_chunks({group / p.num_heads, group % p.num_heads, {}, true}, ends, chunks);
  }
  return chunks;
}

bool is_census(const Problem& p, Index sampled_rows) {
  return sampled_rows == p.batch * p.num_heads * p.query_len;
}

}  // namespace longattn

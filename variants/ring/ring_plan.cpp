#include "variants/ring/ring_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <map>
#include <numeric>

#include "core/error.h"
#include "core/workspace.h"

namespace longattn {
namespace {

// sum_{i < n} floor((a i + b) / m) for a, b >= 0, m > 0: Euclid's algorithm on the lattice points
// below a line (Graham, Knuth & Patashnik, Concrete Mathematics, section 3.5).
double floor_sum(Index n, Index m, Index a, Index b) {
  double sum = 0;
  double sign = 1;
  while (n > 0) {
    const auto points = static_cast<double>(n);
    sum += sign * (points * (points - 1) / 2 * static_cast<double>(a / m) +
                   points * static_cast<double>(b / m));
    a %= m;
    b %= m;
    const Index top = a * (n - 1) + b;  // the largest numerator left
    if (top < m) break;
    // Points below the line, counted by rows instead of columns: all of the box but those above.
    const Index rows = top / m;
    sum += sign * points * static_cast<double>(rows);
    sign = -sign;
    // sum_{k=1..rows} ceil((k m - b) / a) = sum_{k<rows} floor((m k + m - b + a - 1) / a).
    const Index offset = m - b + a - 1;
    n = rows;
    std::swap(m, a);
    b = offset;
  }
  return sum;
}

// Pairs with key <= position, of two arithmetic sequences.
double causal_pairs(const TokenSet& positions, const TokenSet& keys) {
  if (positions.count == 0 || keys.count == 0 || keys[0] > positions[positions.count - 1]) return 0;
  if (keys[keys.count - 1] <= positions[0]) {  // as most are, of many ranks
    return static_cast<double>(positions.count) * static_cast<double>(keys.count);
  }
  const Index none = positions.count_below(keys[0]);
  const Index some = positions.count_below(keys[keys.count - 1]);
  const auto all = static_cast<double>(positions.count - some);
  double pairs = all * static_cast<double>(keys.count);
  if (some > none) {
    pairs += static_cast<double>(some - none) +
             floor_sum(some - none, keys.stride, positions.stride, positions[none] - keys[0]);
  }
  return pairs;
}

TokenSet moved(const TokenSet& tokens, Index distance) {
  return {tokens.begin + distance, tokens.count, tokens.stride, nullptr};
}

Index tokens_of(const std::vector<Shard>& shards) {
  return std::accumulate(shards.begin(), shards.end(), Index{0},
                         [](Index sum, const Shard& shard) { return sum + shard.size(); });
}

std::vector<Shard> make_shards(RingLayout layout, Index tokens, int ranks) {
  std::vector<Shard> shards;
  for (int rank = 0; rank < ranks; ++rank) {
    shards.push_back(make_shard(layout, tokens, ranks, rank));
  }
  return shards;
}

}  // namespace

void Shard::append(const TokenSet& tokens) {
  assert(tokens.list == nullptr && (size_ == 0 || tokens.begin > (*this)[size_ - 1]));
  if (tokens.count <= 0) return;
  segments_.push_back(tokens);
  size_ += tokens.count;
}

Index Shard::operator[](Index local) const {
  for (const TokenSet& segment : segments_) {
    if (local < segment.count) return segment[local];
    local -= segment.count;
  }
  assert(false);
  return -1;
}

Index Shard::count_below(Index token) const {
  Index count = 0;
  for (const TokenSet& segment : segments_) count += segment.count_below(token);
  return count;
}

std::string_view to_string(RingLayout layout) {
  static constexpr std::array<std::string_view, 3> kNames = {"contiguous", "zigzag", "striped"};
  return kNames[static_cast<size_t>(layout)];
}

Shard make_shard(RingLayout layout, Index tokens, int ranks, int rank) {
  Shard shard;
  const auto part = [&](Index n, Index parts) {
    const Index begin = n * tokens / parts, end = (n + 1) * tokens / parts;
    shard.append({begin, end - begin});
  };
  switch (layout) {
    case RingLayout::contiguous:
      part(rank, ranks);
      break;
    case RingLayout::zigzag:
      part(rank, 2 * ranks);
      part(2 * ranks - 1 - rank, 2 * ranks);
      break;
    case RingLayout::striped:
      shard.append({rank, tokens > rank ? (tokens - rank + ranks - 1) / ranks : 0, ranks, nullptr});
      break;
  }
  return shard;
}

RingPlan::RingPlan(const Problem& problem, RingLayout layout, int ranks,
                   const RingSettings& settings)
    : RingPlan(problem, make_shards(layout, problem.query_len, ranks),
               make_shards(layout, problem.key_len, ranks), settings) {
  layout_ = layout;
}

RingPlan::RingPlan(const Problem& problem, std::vector<Shard> queries, std::vector<Shard> keys,
                   const RingSettings& settings)
    : problem_(problem), settings_(settings), queries_(std::move(queries)), keys_(std::move(keys)) {
  if (queries_.size() != keys_.size()) {
    throw ProblemError(
        fmt::format("{} shards of queries, {} of keys", queries_.size(), keys_.size()));
  }
  if (settings_.all_gather && ranks() > kMostGathered) {
    throw ProblemError(fmt::format("all_gather of {} ranks, at most {}", ranks(), kMostGathered));
  }
  if (tokens_of(queries_) != problem.query_len || tokens_of(keys_) != problem.key_len) {
    throw ProblemError(fmt::format("shards of {} queries and {} keys, problem says {} and {}",
                                   tokens_of(queries_), tokens_of(keys_), problem.query_len,
                                   problem.key_len));
  }
  count_pairs();
}

void RingPlan::count_pairs() {
  const int size = ranks();
  if (!problem_.mask.document_ids.empty()) {
    std::vector<double> pairs;
    for (int rank = 0; rank < size; ++rank) {
      for (int from = 0; from < size; ++from) pairs.push_back(count_anew(rank, from));
    }
    pairs_ = std::move(pairs);
  }
  last_step_.assign(static_cast<size_t>(size), 0);
  for (int from = 0; from < size; ++from) {
    int& last = last_step_[static_cast<size_t>(from)];
    for (last = size - 1; last > 0 && pairs((from + last) % size, from) == 0;) --last;
  }
}

double RingPlan::pairs(int rank, int from) const {
  if (pairs_.empty()) return count_anew(rank, from);
  return pairs_[static_cast<size_t>(rank) * static_cast<size_t>(ranks()) +
                static_cast<size_t>(from)];
}

double RingPlan::count_anew(int rank, int from) const {
  const Mask& mask = problem_.mask;
  const bool alike = mask.document_ids.empty() && mask.key_lengths.empty();  // batch entries
  double pairs = 0;
  for (Index b = 0; b < (alike ? std::min<Index>(problem_.batch, 1) : problem_.batch); ++b) {
    pairs += mask.document_ids.empty() ? count(queries(rank), keys(from), b)
                                       : count_documents(queries(rank), keys(from), b);
  }
  return pairs * static_cast<double>((alike ? problem_.batch : 1) * problem_.num_heads);
}

double RingPlan::count(const Shard& queries, const Shard& keys, Index b) const {
  double pairs = 0;
  for (const TokenSet& all : keys.segments()) {
    const Index visible = problem_.visible_key_len(b);
    const TokenSet seen =
        all[all.count - 1] < visible ? all : all.slice(0, all.count_below(visible));
    for (const TokenSet& rows : queries.segments()) {
      const auto up_to = [&](Index distance) {  // keys at most so far behind the query's own token
        return causal_pairs(moved(rows, problem_.position(0) + distance), seen);
      };
      const auto& window = settings_.window;
      if (problem_.mask.causal) {
        pairs += up_to(0);
      } else if (window) {
        pairs += up_to(*window);
      } else {
        pairs += static_cast<double>(rows.count) * static_cast<double>(seen.count);
      }
      if (window) pairs -= up_to(-*window - 1);
    }
  }
  return pairs;
}

double RingPlan::count_documents(const Shard& queries, const Shard& keys, Index b) const {
  std::map<Index, std::vector<Index>> tokens;  // of each document
  for (Index n = 0; n < keys.count_below(problem_.visible_key_len(b)); ++n) {
    tokens[problem_.document(b, keys[n])].push_back(keys[n]);
  }
  double pairs = 0;
  for (Index n = 0; n < queries.size(); ++n) {
    const Index position = problem_.position(queries[n]);
    const auto own = tokens.find(problem_.document(b, position));
    if (own == tokens.end()) continue;
    auto begin = own->second.begin(), end = own->second.end();
    if (settings_.window) {
      begin = std::ranges::lower_bound(own->second, position - *settings_.window);
      end = std::ranges::upper_bound(own->second, position + *settings_.window);
    }
    if (problem_.mask.causal) end = std::ranges::upper_bound(own->second, position);
    pairs += static_cast<double>(end - begin);
  }
  return pairs;
}

RingLayout RingPlan::best_layout(const Problem& whole, int ranks, const RingSettings& settings) {
  if (settings.window && *settings.window < whole.key_len) return RingLayout::contiguous;
  Problem problem = whole;
  problem.batch = 1;
  problem.mask = {};
  problem.mask.causal = whole.mask.causal;
  RingLayout best = RingLayout::contiguous;
  double best_balance = 0;
  Index least = 0;
  for (RingLayout layout : {RingLayout::contiguous, RingLayout::zigzag, RingLayout::striped}) {
    const RingPlan plan(problem, layout, ranks);
    Index sent = 0;
    for (int rank = 0; rank < ranks; ++rank) sent += plan.bytes_sent(rank);
    const double gain = plan.balance() - best_balance;
    constexpr double kEqual = 1e-3;
    if (gain <= kEqual && !(gain > -kEqual && sent < least)) continue;
    best = layout;
    best_balance = plan.balance();
    least = sent;
  }
  return best;
}

bool RingPlan::sends(int rank, int step) const {
  return !settings_.all_gather && step < last_step_[static_cast<size_t>(origin(rank, step))];
}

Index RingPlan::block_bytes(int from) const {
  return problem_.batch * problem_.num_kv_heads * keys(from).size() *
         (problem_.head_dim + problem_.value_dim) * byte_size(wire());
}

Index RingPlan::bytes_sent(int rank) const {
  Index bytes = 0;
  for (int step = 0; step < ranks(); ++step) {
    if (sends(rank, step)) bytes += block_bytes(origin(rank, step));
    if (settings_.all_gather && needs(step, rank)) bytes += block_bytes(rank);  // to each rank
  }
  return bytes;
}

Index RingPlan::buffer_bytes(int rank, int place) const {
  Index bytes = place == 0 ? block_bytes(rank) : 0;
  for (int step = 1; step < ranks(); ++step) {
    if (step % places() != place) continue;
    const int from = origin(rank, step);
    const bool comes = settings_.all_gather ? needs(rank, from) : receives(rank, step - 1);
    if (comes) bytes = std::max(bytes, block_bytes(from));
  }
  return bytes;
}

Index RingPlan::widened_bytes(int rank) const {
  if (!rounds()) return 0;
  Index bytes = 0;
  for (int from = 0; from < ranks(); ++from) {
    if (pairs(rank, from) > 0) bytes = std::max(bytes, block_bytes(from));
  }
  return bytes / byte_size(wire()) * byte_size(problem_.dtype);
}

Index RingPlan::memory_bytes(int rank) const {
  Index blocks = 0;
  for (int place = 0; place < places(); ++place) {
    blocks += Workspace::rounded(buffer_bytes(rank, place));
  }
  const Index rows = problem_.batch * problem_.num_heads * queries(rank).size();
  return Workspace::rounded(rows * problem_.head_dim * byte_size(problem_.dtype)) + blocks +
         Workspace::rounded(widened_bytes(rank)) +
         Workspace::bytes_for<float>(rows * problem_.value_dim) +
         2 * Workspace::bytes_for<float>(rows);
}

double RingPlan::balance() const {
  double total = 0, chain = 0;
  for (int step = 0; step < ranks(); ++step) {
    double most = 0;
    for (int rank = 0; rank < ranks(); ++rank) {
      const double work = pairs(rank, origin(rank, step));
      total += work;
      most = std::max(most, work);
    }
    chain += most;
  }
  return chain > 0 ? total / (static_cast<double>(ranks()) * chain) : 1;
}

}  // namespace longattn

#include "variants/reformer/lsh_rounds.h"

#include <algorithm>
#include <limits>

#include "core/blocked_attention.h"

namespace longattn {
namespace {

constexpr Index kHashedAtOnce = 256;  // rows of one task
constexpr Index kQueryBlock = 192;    // more than elsewhere: neighbours gather the same keys
constexpr Index kKeyBlock = 384;      // keys of a tile
constexpr float kNothing = -std::numeric_limits<float>::infinity();

Index tasks_for(Index rows) { return (rows + kHashedAtOnce - 1) / kHashedAtOnce; }

}  // namespace

LshRounds::LshRounds(const Problem& p, const LshSettings& settings, const LshHash& hash,
                     const Inputs& inputs, const LshGroup& group, Context& context)
    : p_(p), s_(settings), group_(group), keys_(p.visible_key_len(group.batch_entry)) {
  Workspace& w = context.workspace();
  const Index of_keys = s_.rounds * p.key_len;
  const Index of_queries = s_.rounds * group.heads * p.query_len;
  if (!s_.shared_qk) key_bucket_ = w.take<std::int32_t>(of_keys);
  query_bucket_ = w.take<std::int32_t>(of_queries);
  key_start_ = w.take<std::int32_t>(s_.rounds * (s_.num_buckets() + 1));
  place_ = w.take<std::int32_t>(of_keys);
  key_order_ = w.take<Index>(of_keys);
  query_order_ = w.take<Index>(of_queries);
  seen_ = w.take<PlaceRange>(of_queries);
  if (s_.wrap_around) wrapped_ = w.take<PlaceRange>(of_queries);
  if (s_.shared_qk) alone_ = w.take<std::uint8_t>(group.heads * p.query_len);

  hash_rows(hash, inputs, context);
  const Workspace::Scope scope(w);
  const Index counts = 2 * (s_.num_buckets() + 1);
  const std::span<std::int32_t> scratch = w.take<std::int32_t>(context.threads() * counts);
  context.arena().for_each(s_.rounds, [&](Index round, int) { sort_keys(round); });
  context.arena().for_each(s_.rounds * group.heads, [&](Index n, int worker) {
    sort_queries(n / group.heads, n % group.heads, scratch.data() + worker * counts);
  });
  if (!s_.shared_qk) return;
  context.arena().for_each(tasks_for(p.query_len), [&](Index task, int) {
    const Index end = std::min((task + 1) * kHashedAtOnce, p.query_len);
    for (Index head = 0; head < group.heads; ++head) {
      for (Index i = task * kHashedAtOnce; i < end; ++i) {
        alone_[query_at(0, head, i)] = sees_others(head, i) ? 0 : 1;
      }
    }
  });
}

Index LshRounds::bytes(const Problem& p, const LshSettings& s, const LshHash& hash, Index heads,
                       int threads) {
  const Index of_keys = s.rounds * p.key_len, of_queries = s.rounds * heads * p.query_len;
  const Index counts = 2 * (s.num_buckets() + 1);
  return (s.shared_qk ? 0 : Workspace::bytes_for<std::int32_t>(of_keys)) +
         Workspace::bytes_for<std::int32_t>(of_queries) +
         Workspace::bytes_for<std::int32_t>(s.rounds * (s.num_buckets() + 1)) +
         Workspace::bytes_for<std::int32_t>(of_keys) + Workspace::bytes_for<Index>(of_keys) +
         Workspace::bytes_for<Index>(of_queries) +
         (s.wrap_around ? 2 : 1) * Workspace::bytes_for<PlaceRange>(of_queries) +
         (s.shared_qk ? Workspace::bytes_for<std::uint8_t>(heads * p.query_len) : 0) +
         std::max(Workspace::bytes_for<double>(threads * hash.scratch_doubles()),
                  Workspace::bytes_for<std::int32_t>(threads * counts));
}

std::int32_t* LshRounds::key_buckets(Index round) {
  return s_.shared_qk ? &query_bucket_[query_at(round, 0, 0)]
                      : &key_bucket_[at(round * p_.key_len)];
}

void LshRounds::hash_rows(const LshHash& hash, const Inputs& inputs, Context& context) {
  const Workspace::Scope scope(context.workspace());
  const std::span<double> scratch =
      context.workspace().take<double>(context.threads() * hash.scratch_doubles());
  const Index b = group_.batch_entry, rotation = s_.rotation_head(p_, group_.first_head);
  const Index key_tasks = s_.shared_qk ? 0 : tasks_for(keys_), per_head = tasks_for(p_.query_len);
  context.arena().for_each(key_tasks + group_.heads * per_head, [&](Index task, int worker) {
    double* own = scratch.data() + worker * hash.scratch_doubles();
    if (task < key_tasks) {
      const Index first = task * kHashedAtOnce, count = std::min(kHashedAtOnce, keys_ - first);
      hash.buckets(inputs.keys, b, p_.kv_head(group_.first_head), rotation, first, count, own,
                   key_bucket_.data() + first, p_.key_len);
      return;
    }
    const Index head = (task - key_tasks) / per_head;
    const Index first = (task - key_tasks) % per_head * kHashedAtOnce;
    hash.buckets(inputs.queries, b, group_.first_head + head, rotation, first,
                 std::min(kHashedAtOnce, p_.query_len - first), own,
                 &query_bucket_[query_at(0, head, first)], group_.heads * p_.query_len);
  });
}

// By counting: stable, so that keys of a bucket stay in order of position.
void LshRounds::sort_keys(Index round) {
  const std::int32_t* bucket = key_buckets(round);
  std::int32_t* start = &key_start_[at(round * (s_.num_buckets() + 1))];
  std::fill_n(start, s_.num_buckets() + 1, 0);
  for (Index j = 0; j < keys_; ++j) ++start[bucket[j] + 1];
  for (Index b = 0; b < s_.num_buckets(); ++b) start[b + 1] += start[b];
  Index* order = &key_order_[at(round * p_.key_len)];
  std::int32_t* place = &place_[at(round * p_.key_len)];
  for (Index j = 0; j < keys_; ++j) {
    place[j] = start[bucket[j]]++;
    order[place[j]] = j;
  }
  // Every start has moved to the next one's: back by one.
  std::copy_backward(start, start + s_.num_buckets(), start + s_.num_buckets() + 1);
  start[0] = 0;
}

// Sorts the queries of a head and anchors each: rank r of n_q goes to key floor(r n_k / n_q) of the
// bucket.
void LshRounds::sort_queries(Index round, Index head, std::int32_t* counts) {
  const std::int32_t* bucket = &query_bucket_[query_at(round, head, 0)];
  const Index buckets = s_.num_buckets();
  std::int32_t *start = counts, *next = counts + buckets + 1;
  std::fill_n(start, buckets + 1, 0);
  for (Index i = 0; i < p_.query_len; ++i) ++start[bucket[i] + 1];
  for (Index b = 0; b < buckets; ++b) start[b + 1] += start[b];
  std::copy_n(start, buckets, next);
  Index* order = &query_order_[query_at(round, head, 0)];
  const std::int32_t* key_start = &key_start_[at(round * (buckets + 1))];
  for (Index i = 0; i < p_.query_len; ++i) {
    const Index b = bucket[i];
    const Index rank = next[b]++ - start[b];
    order[start[b] + rank] = i;
    const Index of_bucket = key_start[b + 1] - key_start[b], queries = start[b + 1] - start[b];
    anchor(round, query_at(round, head, i), key_start[b] + rank * of_bucket / queries, b);
  }
}

void LshRounds::anchor(Index round, size_t query, Index place, Index bucket) {
  seen_[query] = {};
  if (s_.wrap_around) wrapped_[query] = {};
  if (keys_ == 0) return;
  const Index chunk = std::min(place, keys_ - 1) / s_.chunk;
  const Index first = std::max<Index>(chunk - s_.look_back, 0);
  seen_[query] = clipped(round, bucket, first * s_.chunk, (chunk + 1) * s_.chunk);
  if (!s_.wrap_around || chunk >= s_.look_back) return;
  // As many chunks from the end as the beginning lacks, none of them twice.
  const Index begin = std::max(s_.chunks(keys_) - (s_.look_back - chunk), chunk + 1);
  wrapped_[query] = clipped(round, bucket, begin * s_.chunk, keys_);
}

PlaceRange LshRounds::clipped(Index round, Index bucket, Index begin, Index end) const {
  end = std::min(end, keys_);
  if (!s_.across_buckets) {
    const std::int32_t* start = &key_start_[at(round * (s_.num_buckets() + 1))];
    begin = std::max<Index>(begin, start[bucket]);
    end = std::min<Index>(end, start[bucket + 1]);
  }
  if (begin >= end) return {};
  return {static_cast<std::int32_t>(begin), static_cast<std::int32_t>(end)};
}

bool LshRounds::sees_others(Index head, Index query) const {
  for (Index round = 0; round < s_.rounds; ++round) {
    const Index* order = key_order(round);
    for (const PlaceRange& range : {seen(round, head, query), wrapped(round, head, query)}) {
      for (Index place = range.begin; place < range.end; ++place) {
        if (order[place] != query && p_.visible(group_.batch_entry, query, order[place])) {
          return true;
        }
      }
    }
  }
  return false;
}

LshSchedule::LshSchedule(const Problem& problem, const LshSettings& settings,
                         const LshRounds* rounds, Index round)
    : BlockSchedule(kQueryBlock, kKeyBlock),
      p_(problem),
      s_(settings),
      rounds_(rounds),
      round_(round) {}

TokenSet LshSchedule::queries(Index, Index head, Index block) const {
  const Index first = block * query_block();
  return {0, std::min(query_block(), p_.query_len - first), 1,
          rounds_->query_order(round_, head) + first};
}

Index LshSchedule::sources(Index b, Index head, Index block, std::span<KeySource> out) const {
  const TokenSet rows = queries(b, head, block);
  PlaceRange seen{std::numeric_limits<std::int32_t>::max(), 0}, wrapped = seen;
  const auto unite = [](PlaceRange& all, const PlaceRange& range) {
    if (range.empty()) return;
    all = {std::min(all.begin, range.begin), std::max(all.end, range.end)};
  };
  for (Index r = 0; r < rows.count; ++r) {
    unite(seen, rounds_->seen(round_, head, rows[r]));
    unite(wrapped, rounds_->wrapped(round_, head, rows[r]));
  }
  // What one row sees directly another may see around the end: one source, so that no key is in
  // two.
  if (!seen.empty() && !wrapped.empty() && wrapped.begin <= seen.end) {
    unite(seen, wrapped);
    wrapped = {};
  }
  Index count = 0;
  for (const PlaceRange& range : {seen, wrapped}) {
    if (range.empty()) continue;
    const Index* keys = rounds_->key_order(round_) + range.begin;
    out[static_cast<size_t>(count++)] = {{0, range.end - range.begin, 1, keys}, true};
  }
  return count;
}

void LshSchedule::mask(const Tile& tile, TileMask& mask) const {
  const Index first = tile.keys.list - rounds_->key_order(round_);  // place of the first column
  for (Index r = 0; r < mask.rows; ++r) {
    narrow(tile, first, r, mask);
    hide_single_keys(tile, first, r, mask);
  }
  if (!p_.mask.alibi_slopes.empty()) add_bias(tile, mask);
  hide_earlier_pairs(tile, mask);
}

// Clips a row to the places it sees; inside one bucket a causal mask is a clip too.
void LshSchedule::narrow(const Tile& tile, Index first, Index r, TileMask& mask) const {
  const auto columns = [&](const PlaceRange& range) {
    const Index begin = std::clamp<Index>(range.begin - first, 0, mask.columns);
    return std::pair(begin, std::clamp<Index>(range.end - first, begin, mask.columns));
  };
  const Index query = tile.queries[r];
  auto [begin, end] = columns(rounds_->seen(round_, tile.head, query));
  if (s_.wrap_around) {
    const auto [back_begin, back_end] = columns(rounds_->wrapped(round_, tile.head, query));
    if (begin >= end) {
      begin = back_begin;
      end = back_end;
    } else if (back_begin < back_end) {
      for (Index c = end; c < back_begin; ++c) mask.hide(r, c);
      end = back_end;
    }
  }
  if (p_.mask.causal && !s_.across_buckets) {
    const Index* list = tile.keys.list;
    end = std::lower_bound(list + begin, list + end, p_.position(query) + 1) - list;
  }
  mask.clip(r, begin, end);
}

// Keys that no interval hides: of other documents, of the future among several buckets, oneself.
void LshSchedule::hide_single_keys(const Tile& tile, Index first, Index r, TileMask& mask) const {
  const Index query = tile.queries[r], position = p_.position(query);
  const Index b = rounds_->group().batch_entry;
  if ((p_.mask.causal && s_.across_buckets) || !p_.mask.document_ids.empty()) {
    for (Index c = mask.begin[r]; c < mask.end[r]; ++c) {
      if (!p_.visible(b, query, tile.keys[c])) mask.hide(r, c);
    }
  }
  if (!s_.shared_qk || rounds_->alone(tile.head, query)) return;
  if (position >= p_.visible_key_len(b)) return;  // padding has no place among the keys
  const Index own = rounds_->places(round_)[position] - first;
  if (own >= mask.begin[r] && own < mask.end[r]) mask.hide(r, own);
}

void LshSchedule::add_bias(const Tile& tile, TileMask& mask) const {
  mask.use_bias();
  const Index head = rounds_->group().first_head + tile.head;
  for (Index r = 0; r < mask.rows; ++r) {
    for (Index c = mask.begin[r]; c < mask.end[r]; ++c) {
      mask.bias[static_cast<size_t>(r * mask.columns + c)] =
          static_cast<float>(p_.bias(head, tile.queries[r], tile.keys[c]));
    }
  }
}

// A pair that met before has its weight already. A bias of -inf hides it, which costs the engine
// less than the mask's bits, and may: the value does belong to the row. (One that is infinite makes
// the row NaN.)
void LshSchedule::hide_earlier_pairs(const Tile& tile, TileMask& mask) const {
  for (Index earlier = 0; earlier < round_; ++earlier) {
    mask.use_bias();
    std::int32_t places[kKeyBlock];
    const std::int32_t* all = rounds_->places(earlier);
    for (Index c = 0; c < mask.columns; ++c) places[c] = all[tile.keys[c]];
    const auto hide = [&](Index r, const PlaceRange& range) {
      if (range.empty()) return;
      float* bias = mask.bias.data() + r * mask.columns;
      for (Index c = mask.begin[r]; c < mask.end[r]; ++c) {
        bias[c] = range.contains(places[c]) ? kNothing : bias[c];
      }
    };
    for (Index r = 0; r < mask.rows; ++r) {
      hide(r, rounds_->seen(earlier, tile.head, tile.queries[r]));
      if (s_.wrap_around) hide(r, rounds_->wrapped(earlier, tile.head, tile.queries[r]));
    }
  }
}

}  // namespace longattn

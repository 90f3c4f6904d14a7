#include "variants/reformer/lsh_rounds.h"

#include <algorithm>

namespace longattn {
namespace {

constexpr Index kHashedAtOnce = 256;  // rows of one task

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
  key_tags_ = w.take<std::uint8_t>(of_keys);
  query_tags_ = w.take<std::uint8_t>(of_queries);
  if (s_.shared_qk) alone_ = w.take<std::uint8_t>(group.heads * p.query_len);

  hash_rows(hash, inputs, context);
  tag(s_.shared_qk ? query_bucket_ : key_bucket_, p.key_len, key_tags_, context);
  tag(query_bucket_, group.heads * p.query_len, query_tags_, context);
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
         Workspace::bytes_for<std::uint8_t>(of_keys) +
         Workspace::bytes_for<std::uint8_t>(of_queries) +
         (s.shared_qk ? Workspace::bytes_for<std::uint8_t>(heads * p.query_len) : 0) +
         std::max(Workspace::bytes_for<float>(threads * hash.scratch_floats()),
                  Workspace::bytes_for<std::int32_t>(threads * counts));
}

std::int32_t* LshRounds::key_buckets(Index round) {
  return s_.shared_qk ? &query_bucket_[query_at(round, 0, 0)]
                      : &key_bucket_[at(round * p_.key_len)];
}

void LshRounds::hash_rows(const LshHash& hash, const Inputs& inputs, Context& context) {
  const Workspace::Scope scope(context.workspace());
  const std::span<float> scratch =
      context.workspace().take<float>(context.threads() * hash.scratch_floats());
  const Index b = group_.batch_entry, rotation = s_.rotation_head(p_, group_.first_head);
  const Index key_tasks = s_.shared_qk ? 0 : tasks_for(keys_), per_head = tasks_for(p_.query_len);
  context.arena().for_each(key_tasks + group_.heads * per_head, [&](Index task, int worker) {
    float* own = scratch.data() + worker * hash.scratch_floats();
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

// From [rounds, rows] to [rows, rounds]: the low bits of the bucket, or nothing that tells buckets
// apart where a query sees several.
void LshRounds::tag(std::span<const std::int32_t> buckets, Index rows, std::span<std::uint8_t> tags,
                    Context& context) const {
  context.arena().for_each(tasks_for(rows), [&](Index task, int) {
    for (Index n = task * kHashedAtOnce; n < std::min((task + 1) * kHashedAtOnce, rows); ++n) {
      for (Index round = 0; round < s_.rounds; ++round) {
        tags[at(n * s_.rounds + round)] =
            s_.across_buckets ? 0 : static_cast<std::uint8_t>(buckets[at(round * rows + n)]);
      }
    }
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
  for (Index j = 0; j < keys_; ++j) {
    const std::int32_t place = start[bucket[j]]++;
    place_[at(j * s_.rounds + round)] = place;
    order[place] = j;
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
    anchor(round, range_at(round, head, i), key_start[b] + rank * of_bucket / queries, b);
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

}  // namespace longattn

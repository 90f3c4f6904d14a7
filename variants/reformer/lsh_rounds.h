#pragma once

#include "core/attention.h"
#include "variants/reformer/lsh.h"

// Inside of Reformer's forward: sorted keys, and what each query sees of them.
namespace longattn {

/// Places [begin, end) in the sorted order of keys.
struct PlaceRange {
  std::int32_t begin = 0, end = 0;

  bool empty() const { return begin >= end; }
  bool contains(std::int32_t place) const {
    return static_cast<std::uint32_t>(place - begin) < static_cast<std::uint32_t>(end - begin);
  }
};

/// The query heads that share one rotation and one sorted order of keys: those of a kv head, or one
/// with shared_qk.
struct LshGroup {
  Index batch_entry = 0, first_head = 0, heads = 1;
};

/// All rounds of one group: keys and queries hashed, sorted and anchored. Memory is from the
/// Context's workspace; the caller holds a Scope. What a query sees in a round is one range of
/// places, because keys of a bucket and neighbouring chunks lie side by side, and a second one
/// where it wraps around. Time O(rounds * (keys + queries)) beside the hashing; the hash, and
/// nothing else, is shared with the definition.
class LshRounds {
 public:
  LshRounds(const Problem& problem, const LshSettings& settings, const LshHash& hash,
            const Inputs& inputs, const LshGroup& group, Context& context);
  /// What the constructor takes for a group of `heads`.
  static Index bytes(const Problem& problem, const LshSettings& settings, const LshHash& hash,
                     Index heads, int threads);

  const Problem& problem() const { return p_; }
  const LshSettings& settings() const { return s_; }
  const LshGroup& group() const { return group_; }
  Index keys() const { return keys_; }  ///< that padding leaves

  /// Keys by place.
  const Index* key_order(Index round) const { return &key_order_[at(round * p_.key_len)]; }
  /// Places of a key, by round.
  const std::int32_t* places(Index key) const { return &place_[at(key * s_.rounds)]; }
  /// Queries by (bucket, position), of a head of the group.
  const Index* query_order(Index round, Index head) const {
    return &query_order_[query_at(round, head, 0)];
  }
  /// What a query sees, by round.
  const PlaceRange* seen(Index head, Index query) const { return &seen_[range_at(0, head, query)]; }
  PlaceRange seen(Index round, Index head, Index query) const { return seen(head, query)[round]; }
  PlaceRange wrapped(Index round, Index head, Index query) const {
    return wrapped_.empty() ? PlaceRange{} : wrapped_[range_at(round, head, query)];
  }
  /// A query sees, in round n, no key whose tags[n] differ: for telling quickly that it does not.
  const std::uint8_t* key_tags(Index key) const { return &key_tags_[at(key * s_.rounds)]; }
  const std::uint8_t* query_tags(Index head, Index query) const {
    return &query_tags_[at((head * p_.query_len + query) * s_.rounds)];
  }
  /// With shared_qk: whether the query sees no key but its own, in any round.
  bool alone(Index head, Index query) const { return alone_[query_at(0, head, query)] != 0; }

 private:
  static size_t at(Index n) { return static_cast<size_t>(n); }
  size_t query_at(Index round, Index head, Index query) const {
    return at((round * group_.heads + head) * p_.query_len + query);
  }
  // What the rounds tell of one query or key lies together: who asks for one asks for the others.
  size_t range_at(Index round, Index head, Index query) const {
    return at((head * p_.query_len + query) * s_.rounds + round);
  }
  std::int32_t* key_buckets(Index round);
  void hash_rows(const LshHash& hash, const Inputs& inputs, Context& context);
  void sort_keys(Index round);
  void sort_queries(Index round, Index head, std::int32_t* counts);
  void tag(std::span<const std::int32_t> buckets, Index rows, std::span<std::uint8_t> tags,
           Context& context) const;
  void anchor(Index round, size_t query, Index place, Index bucket);
  PlaceRange clipped(Index round, Index bucket, Index begin, Index end) const;
  bool sees_others(Index head, Index query) const;

  const Problem& p_;
  const LshSettings& s_;
  const LshGroup group_;
  const Index keys_;                               // that padding leaves
  std::span<std::int32_t> key_bucket_;             // [rounds, key_len]; empty with shared_qk
  std::span<std::int32_t> query_bucket_;           // [rounds, heads, query_len]
  std::span<std::int32_t> key_start_;              // [rounds, buckets + 1], places
  std::span<std::int32_t> place_;                  // [key_len, rounds]
  std::span<Index> key_order_, query_order_;       // [rounds, key_len], [rounds, heads, query_len]
  std::span<PlaceRange> seen_, wrapped_;           // [heads, query_len, rounds]
  std::span<std::uint8_t> key_tags_, query_tags_;  // [key_len, rounds], [heads, query_len, rounds]
  std::span<std::uint8_t> alone_;                  // [heads, query_len], with shared_qk
};

}  // namespace longattn

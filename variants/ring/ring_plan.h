#pragma once

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "core/block_schedule.h"
#include "core/types.h"

namespace longattn {

/// The tokens of one rank, ascending: a few arithmetic sequences one after the other. Everything a
/// rank holds is numbered locally, 0, 1, .., in this order.
class Shard {
 public:
  /// Appends tokens that all come after those so far.
  void append(const TokenSet& tokens);

  Index size() const { return size_; }
  Index operator[](Index local) const;   ///< token of a local number
  Index count_below(Index token) const;  ///< local number of the first token that is not below
  const std::vector<TokenSet>& segments() const { return segments_; }

 private:
  std::vector<TokenSet> segments_;
  Index size_ = 0;
};

/// Which rank of P holds which of N tokens. Lengths that do not divide give parts that differ by
/// one token, and empty ones where there are more parts than tokens.
enum class RingLayout {
  contiguous,  ///< rank r the r-th of P parts
  zigzag,      ///< rank r the r-th and the r-th last of 2 P parts
  striped,     ///< rank r tokens r, r + P, r + 2 P, ..
};
std::string_view to_string(RingLayout layout);
Shard make_shard(RingLayout layout, Index tokens, int ranks, int rank);

/// The most ranks whose blocks are gathered.
inline constexpr int kMostGathered = 64;

/// What a plan is made for beside its Problem.
struct RingSettings {
  std::optional<Index> window{};  ///< a query sees keys this far on either side; empty: all
  std::optional<DType> wire{};    ///< keys and values travel so; empty: as they are stored
  /// Every rank sends its block to all that need it at once, and holds all that it needs: one
  /// latency instead of P - 1, and the memory of the whole sequence's keys and values.
  bool all_gather = false;  ///< of at most kMostGathered ranks
  /// Blocks that a rank of a ring has room for, the one at work among them: 2 is what ranks do
  /// (ring_rank.h); other depths are for the model alone (ring_model.h).
  int depth = 2;
};

/// The whole schedule of a ring as data: who holds what, what is computed and what is passed on at
/// each step, and what that costs. Every rank makes the same plan from the same Problem; the
/// algorithm, the cost model and the tests read nothing else.
///
/// At step t = 0 .. P-1 rank r holds the keys and values that began at rank origin(r, t) = r - t
/// mod P, computes with them, and passes them to rank r + 1 unless no rank further on has a query
/// that sees one of them.
class RingPlan {
 public:
  /// Queries and keys are laid out by the same rule, each over its own length; where these are
  /// equal, a rank holds queries, keys and values of the same tokens.
  RingPlan(const Problem& problem, RingLayout layout, int ranks, const RingSettings& settings = {});
  /// Shards of any size, one of queries and one of keys a rank. Throws ProblemError unless they
  /// have as many tokens as the Problem, and for too many ranks to gather.
  RingPlan(const Problem& problem, std::vector<Shard> queries, std::vector<Shard> keys,
           const RingSettings& settings = {});

  /// Contiguous for windows, where a block meets no more than its neighbours; else the layout with
  /// the best balance; of equal ones the one that sends least, then the first. Only
  /// lengths and the causal mask count: padding and documents may differ between batch entries, and
  /// the bits of one entry must not depend on the others.
  static RingLayout best_layout(const Problem& problem, int ranks,
                                const RingSettings& settings = {});

  int ranks() const { return static_cast<int>(queries_.size()); }
  std::optional<RingLayout> layout() const { return layout_; }  ///< empty: shards of any size
  const Shard& queries(int rank) const { return queries_[static_cast<size_t>(rank)]; }
  const Shard& keys(int rank) const { return keys_[static_cast<size_t>(rank)]; }

  int origin(int rank, int step) const { return (rank - step + ranks()) % ranks(); }
  int next(int rank) const { return (rank + 1) % ranks(); }
  int previous(int rank) const { return (rank + ranks() - 1) % ranks(); }
  /// To the next rank; never if blocks are gathered.
  bool sends(int rank, int step) const;
  bool receives(int rank, int step) const { return sends(previous(rank), step); }
  /// Whether some query of this rank sees a key of the other's.
  bool needs(int rank, int origin) const {
    return rank != origin && pairs(rank, origin) > 0 && block_bytes(origin) > 0;
  }
  const RingSettings& settings() const { return settings_; }
  DType wire() const { return settings_.wire.value_or(problem_.dtype); }
  bool rounds() const { return wire() != problem_.dtype; }
  /// (query, key) pairs that the mask shows, of one rank's queries and one rank's keys, over all
  /// heads and batch entries. Exact. In closed form, some 20 ns, so that plans of thousands of
  /// ranks are small; of documents, which have none, counted when the plan is made.
  double pairs(int rank, int origin) const;

  /// Multiplications and additions behind these.
  double operations(int rank, int origin) const {
    return 2 * pairs(rank, origin) * static_cast<double>(problem_.head_dim + problem_.value_dim);
  }

  /// Of the keys and values that began at a rank, as they travel: one message.
  Index block_bytes(int origin) const;
  Index bytes_sent(int rank) const;
  /// Blocks are held in this many places, by turns: `depth`, or one a step if they are gathered.
  int places() const { return settings_.all_gather ? ranks() : std::min(ranks(), settings_.depth); }
  /// Room for the blocks held at steps place, place + places(), ..
  Index buffer_bytes(int rank, int place) const;
  /// Room for the largest block in the Problem's storage type; 0 where blocks travel so.
  Index widened_bytes(int rank) const;
  /// What a rank holds from its first step to its last: its queries, blocks, its softmax state.
  Index memory_bytes(int rank) const;

  /// Mean work of a rank over the work of the longest chain: sum over steps of the most that any
  /// rank has to do. 1 without pairs.
  double balance() const;

 private:
  void count_pairs();
  double count_anew(int rank, int origin) const;
  double count(const Shard& queries, const Shard& keys, Index batch_entry) const;
  double count_documents(const Shard& queries, const Shard& keys, Index batch_entry) const;

  const Problem problem_;
  const RingSettings settings_;
  std::optional<RingLayout> layout_;
  std::vector<Shard> queries_, keys_;
  std::vector<double> pairs_;   // [rank, origin], of documents; else empty
  std::vector<int> last_step_;  // of each origin: at which someone still needs its block
};

}  // namespace longattn

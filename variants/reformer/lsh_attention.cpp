#include "variants/reformer/lsh_attention.h"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <numbers>
#include <type_traits>

#include "core/fetch.h"
#include "core/kernels.h"
#include "core/softmax_state.h"
#include "variants/reformer/lsh_gathered.h"

namespace longattn {
namespace {

using kernels::ColumnRange;
using kernels::kHalfPanel;
using kernels::kPanel;
using kernels::kStrip;
using kernels::round_up;

constexpr float kNothing = -std::numeric_limits<float>::infinity();
constexpr Index kQueryBlock = 8 * kStrip;  // neighbours see the same keys
constexpr Index kBlocksPerTask = 12;       // which gather the keys at its ends alone
constexpr Index kPanelsOfStrip = 3;        // that a strip sees at least, mostly
constexpr Index kScoreStride = kernels::kScoreStride;
static_assert(kLshTile <= kScoreStride);

// Buffers of one worker.
struct Scratch {
  Scratch(const Problem& p, Index rounds, Workspace& w)
      : queries(w.take<float>(kQueryBlock * p.head_dim)),
        accumulator(w.take<float>(kQueryBlock * LshGathered::value_columns(p))),
        maximum(w.take<float>(kQueryBlock)),
        sum(w.take<float>(kQueryBlock)),
        ranges(w.take<PlaceRange>(2 * kQueryBlock)),
        scores(w.take<float>(kStrip * kScoreStride)),
        gathered(p, rounds, w) {}
  static Index bytes(const Problem& p, Index rounds) {
    return Workspace::bytes_for<float>(kQueryBlock * p.head_dim) +
           Workspace::bytes_for<float>(kQueryBlock * LshGathered::value_columns(p)) +
           2 * Workspace::bytes_for<float>(kQueryBlock) +
           Workspace::bytes_for<PlaceRange>(2 * kQueryBlock) +
           Workspace::bytes_for<float>(kStrip * kScoreStride) +
           LshGathered::Buffers::bytes(p, rounds);
  }

  std::span<float> queries;       // strips of a block
  std::span<float> accumulator;   // [kQueryBlock, value columns]
  std::span<float> maximum, sum;  // [kQueryBlock]
  std::span<PlaceRange> ranges;   // [2, kQueryBlock]: seen, and seen around the end
  std::span<float> scores;        // [kStrip, kScoreStride]
  LshGathered::Buffers gathered;
};
static_assert(std::is_trivially_destructible_v<Scratch>, "it lives in a Workspace");

// Running maximum and sum of every query between rounds; the output holds the accumulators.
struct State {
  std::span<float> maximum, sum;  // [heads, query_len]
};

// Sorted queries [first, last) of a head.
struct Queries {
  Index head = 0, first = 0, last = 0;
};
// Consecutive ones, and the places that one of them sees.
struct Block {
  Index head = 0, first = 0, count = 0;
  PlaceRange places[2];  // seen, and seen around the end
};

// One round's run of blocks, by one worker.
class Run {
 public:
  Run(const LshRounds& rounds, Index round, const Inputs& inputs, const Outputs& outputs,
      const State& state, Scratch& scratch)
      : p_(rounds.problem()),
        s_(rounds.settings()),
        rounds_(rounds),
        round_(round),
        order_(rounds.key_order(round)),
        inputs_(inputs),
        outputs_(outputs),
        state_(state),
        scratch_(scratch),
        gathered_(rounds, round, inputs, scratch.gathered),
        value_columns_(LshGathered::value_columns(p_)),
        query_bytes_(p_.head_dim * byte_size(inputs.queries.dtype)),
        key_bytes_(p_.head_dim * byte_size(inputs.keys.dtype)),
        value_bytes_(p_.value_dim * byte_size(inputs.values.dtype)) {}

  // Goes on to fetch the first block of another run, which this worker probably gets next.
  void attend(const Queries& queries, const Queries& another) {
    Block coming = block_at(queries, queries.first);
    for (Index next = queries.first; next < queries.last;) {
      const Block block = coming;
      next = block.first + block.count;
      const Queries& of_coming = next < queries.last ? queries : another;
      coming = block_at(of_coming, next < queries.last ? next : another.first);
      start_fetching(coming, of_coming.last);
      start(block);
      for (Index side : {0, 1}) {
        const PlaceRange all = block.places[side];
        for (Index begin = all.begin; begin < all.end;) {
          const Index end = std::min<Index>(begin / kPanel * kPanel + kLshTile, all.end);
          gathered_.gather(begin, end);
          for (Index row = 0; row < block.count; row += kStrip) {
            attend_strip(block, side, row, {begin, end});
          }
          begin = end;
        }
      }
      finish(block);
    }
  }

 private:
  void start_fetching(const Block& coming, Index last) {
    coming_ = coming;
    last_ = last;
    fetched_ = 0;
    const Index places = std::min<Index>(coming.places[0].end - coming.places[0].begin, kLshTile);
    const Index times = kQueryBlock / kStrip * (kPanelsOfStrip + 1 + value_columns_ / kPanel);
    fetch_at_once_ = (coming.count + places) / times + 1;
  }

  Block block_at(const Queries& of, Index first) const {
    Block block{of.head, first, std::min(kQueryBlock, of.last - first), {}};
    const Index* queries = rounds_.query_order(round_, of.head) + first;
    const auto unite = [](PlaceRange& all, const PlaceRange& range) {
      if (range.empty()) return;
      if (all.empty()) all = range;
      all = {std::min(all.begin, range.begin), std::max(all.end, range.end)};
    };
    for (Index r = 0; r < block.count; ++r) {
      unite(block.places[0], rounds_.seen(round_, of.head, queries[r]));
      if (s_.wrap_around) unite(block.places[1], rounds_.wrapped(round_, of.head, queries[r]));
    }
    return block;
  }

  // Packs the queries of a block and takes up their softmax where the round before left it.
  void start(const Block& block) {
    const Index* queries = rounds_.query_order(round_, block.head) + block.first;
    const auto factor = static_cast<float>(p_.effective_scale() * std::numbers::log2e);
    for (Index row = 0; row < block.count; row += kStrip) {
      const Index count = std::min(kStrip, block.count - row);
      const float* rows[kStrip];
      for (Index r = 0; r < count; ++r) {
        rows[r] = gathered_.floats(inputs_.queries, block.head, queries[row + r], r);
      }
      k_.pack_strip(rows, count, p_.head_dim, factor, scratch_.queries.data() + row * p_.head_dim);
    }
    for (Index r = 0; r < block.count; ++r) {
      scratch_.ranges[r] = rounds_.seen(round_, block.head, queries[r]);
      scratch_.ranges[kQueryBlock + r] = rounds_.wrapped(round_, block.head, queries[r]);
    }
    if (round_ == 0) {
      std::fill_n(scratch_.accumulator.data(), block.count * value_columns_, 0.0f);
      std::fill_n(scratch_.maximum.data(), block.count, kNothing);
      std::fill_n(scratch_.sum.data(), block.count, 0.0f);
      return;
    }
    for (Index r = 0; r < block.count; ++r) {
      float* accumulator = scratch_.accumulator.data() + r * value_columns_;
      std::copy_n(outputs_.output.row(0, block.head, queries[r]), p_.value_dim, accumulator);
      std::fill(accumulator + p_.value_dim, accumulator + value_columns_, 0.0f);
      const Index n = block.head * p_.query_len + queries[r];
      scratch_.maximum[r] = state_.maximum[n];
      scratch_.sum[r] = state_.sum[n];
    }
  }

  void finish(const Block& block) {
    const Index* queries = rounds_.query_order(round_, block.head) + block.first;
    for (Index r = 0; r < block.count; ++r) {
      const float* accumulator = scratch_.accumulator.data() + r * value_columns_;
      float* output = outputs_.output.row(0, block.head, queries[r]);
      const float sum = scratch_.sum[r];
      if (round_ + 1 < s_.rounds) {
        std::copy_n(accumulator, p_.value_dim, output);
        const Index n = block.head * p_.query_len + queries[r];
        state_.maximum[n] = scratch_.maximum[r];
        state_.sum[n] = sum;
        continue;
      }
      // sum is 0 only where nothing was visible: the largest visible score adds 1.
      k_.scale(accumulator, p_.value_dim, sum == 0 ? 0.0f : 1.0f / sum, output);
      if (outputs_.logsumexp.empty()) continue;
      *outputs_.logsumexp.row(0, block.head, queries[r]) = logsumexp_from(scratch_.maximum[r], sum);
    }
  }

  // Some of what the next block reads, on its way while this one is computed: a few rows each time,
  // as more at once would wait for each other, and the arithmetic for them.
  [[gnu::always_inline]] void fetch_coming() {
    const Index begin = coming_.places[0].begin;
    const Index first = gathered_.holds(begin) ? gathered_.end() : begin;
    const Index places = std::clamp<Index>(coming_.places[0].end - first, 0, kLshTile);
    const Index end = std::min(fetched_ + fetch_at_once_, coming_.count + places);
    const Index* queries = rounds_.query_order(round_, coming_.head) + coming_.first;
    for (; fetched_ < std::min(end, coming_.count); ++fetched_) {
      fetch(inputs_.queries.row(0, coming_.head, queries[fetched_]), query_bytes_);
      fetch(outputs_.output.row(0, coming_.head, queries[fetched_]), 4 * p_.value_dim);
      if (round_ > 0) fetch(rounds_.query_tags(coming_.head, queries[fetched_]), 1);
      const Index after = fetched_ + coming_.count;  // one of the block after
      if (coming_.first + after < last_) fetch(rounds_.seen(coming_.head, queries[after]), 1);
    }
    for (; fetched_ < end; ++fetched_) {
      const Index key = order_[first + fetched_ - coming_.count];
      fetch(inputs_.keys.row(0, 0, key), key_bytes_);
      fetch(inputs_.values.row(0, 0, key), value_bytes_);
      if (round_ == 0) continue;  // nothing was met before
      fetch(rounds_.key_tags(key), 1);
      fetch(rounds_.places(key), 1);
    }
  }

  void attend_strip(const Block& block, Index side, Index row, ColumnRange tile) {
    const Index rows = std::min(kStrip, block.count - row);
    const Index* queries = rounds_.query_order(round_, block.head) + block.first + row;
    std::array<ColumnRange, kStrip> seen;  // columns of each row
    ColumnRange used{kLshTile, 0};
    for (Index r = 0; r < rows; ++r) {
      ColumnRange& own = seen[r];
      own = narrowed(queries[r], scratch_.ranges[side * kQueryBlock + row + r], tile);
      if (own.begin >= own.end) continue;
      used = {std::min(used.begin, own.begin), std::max(used.end, own.end)};
    }
    if (used.begin >= used.end) return;
    const ColumnRange range{used.begin / kHalfPanel * kHalfPanel, round_up(used.end, kHalfPanel)};
    float* scores = scratch_.scores.data();
    for (Index begin = range.begin; begin < range.end;) {  // panel by panel
      const Index end = std::min(begin / kPanel * kPanel + kPanel, range.end);
      k_.float32.scores(rows, p_.head_dim, scratch_.queries.data() + row * p_.head_dim,
                        gathered_.panels(), {begin, end}, scores, kScoreStride, false, nullptr);
      fetch_coming();
      begin = end;
    }
    for (Index r = 0; r < rows; ++r) {
      hide(block.head, queries[r], seen[r], range, scores + r * kScoreStride);
    }
    gathered_.note_odd_rows(rows, used, scores);
    std::array<float, kStrip> correction;
    k_.float32.softmax(rows, range.end - range.begin, 1.0f, scores + range.begin, kScoreStride,
                       scratch_.maximum.data() + row, scratch_.sum.data() + row, correction.data());
    fetch_coming();
    float* accumulator = scratch_.accumulator.data() + row * value_columns_;
    for (Index r = 0; r < rows; ++r) {
      if (correction[r] == 1.0f) continue;
      float* own = accumulator + r * value_columns_;
      k_.scale(own, value_columns_, correction[r], own);
    }
    const float* values = gathered_.values() + used.begin * value_columns_;
    for (Index c = 0; c < value_columns_; c += kPanel) {
      k_.float32.accumulate(rows, used.end - used.begin, scores + used.begin, kScoreStride,
                            values + c, value_columns_, std::min(kPanel, value_columns_ - c),
                            accumulator + c, value_columns_);
      fetch_coming();
    }
    gathered_.add_odd_values(rows, used, scores, accumulator);
  }

  // Columns of the places that a query sees in a tile. Inside one bucket positions ascend, so that
  // a causal mask ends the range.
  ColumnRange narrowed(Index query, const PlaceRange& seen, ColumnRange tile) const {
    const Index begin = std::max<Index>(seen.begin, tile.begin);
    Index end = std::min<Index>(seen.end, tile.end);
    if (begin < end && p_.mask.causal && !s_.across_buckets) {
      end = std::lower_bound(order_ + begin, order_ + end, p_.position(query) + 1) - order_;
    }
    return {begin - gathered_.begin(), end - gathered_.begin()};
  }

  // Adds the bias, and sets to -inf the scores of a row that do not count.
  void hide(Index head, Index query, ColumnRange seen, ColumnRange range, float* row) const {
    const Index begin = std::clamp(seen.begin, range.begin, range.end);
    const Index end = std::clamp(seen.end, begin, range.end);
    std::fill(row + range.begin, row + begin, kNothing);
    std::fill(row + end, row + range.end, kNothing);
    if (begin == end) return;
    const Index* keys = order_ + gathered_.begin();
    if (!p_.mask.alibi_slopes.empty()) {
      const Index of_all = rounds_.group().first_head + head;
      for (Index c = begin; c < end; ++c) {
        row[c] +=
            static_cast<float>(p_.bias(of_all, query, keys[c])) * std::numbers::log2e_v<float>;
      }
    }
    const Index b = rounds_.group().batch_entry;
    if ((p_.mask.causal && s_.across_buckets) || !p_.mask.document_ids.empty()) {
      for (Index c = begin; c < end; ++c) {
        if (!p_.visible(b, query, keys[c])) row[c] = kNothing;
      }
    }
    if (s_.shared_qk && !rounds_.alone(head, query)) hide_own(query, begin, end, row);
    gathered_.hide_met(head, query, {begin, end}, row);
  }

  // The key that is the query itself.
  void hide_own(Index query, Index begin, Index end, float* row) const {
    const Index position = p_.position(query);
    if (position >= rounds_.keys()) return;  // padding has no place among the keys
    const Index own = rounds_.places(position)[round_] - gathered_.begin();
    if (own >= begin && own < end) row[own] = kNothing;
  }

  const Problem& p_;
  const LshSettings& s_;
  const LshRounds& rounds_;
  const Index round_;
  const Index* const order_;  // keys by place
  const Inputs& inputs_;
  const Outputs& outputs_;
  const State& state_;
  Scratch& scratch_;
  LshGathered gathered_;
  const Index value_columns_, query_bytes_, key_bytes_, value_bytes_;
  const kernels::Kernels& k_ = kernels::best();
  Index last_ = 0;                         // of the run's queries
  Block coming_;                           // the next block
  Index fetched_ = 0, fetch_at_once_ = 0;  // of its queries, then of its places
};

// Runs of blocks of one head.
Index runs_of(const Problem& p) {
  return (p.query_len + kBlocksPerTask * kQueryBlock - 1) / (kBlocksPerTask * kQueryBlock);
}
Index state_floats(const Problem& p, const LshSettings& s, Index heads) {
  return s.rounds > 1 ? heads * p.query_len : 0;
}

}  // namespace

void lsh_attention(const LshRounds& rounds, const Inputs& inputs, const Outputs& outputs,
                   Context& context) {
  const Problem& p = rounds.problem();
  const LshSettings& s = rounds.settings();
  const Index heads = rounds.group().heads;
  Workspace& workspace = context.workspace();
  const Workspace::Scope scope(workspace);
  State state;
  state.maximum = workspace.take<float>(state_floats(p, s, heads));
  state.sum = workspace.take<float>(state_floats(p, s, heads));
  const std::span<Scratch> scratch = workspace.take<Scratch>(context.threads());
  for (Scratch& worker : scratch) std::construct_at(&worker, p, s.rounds, workspace);
  const Index tasks = heads * runs_of(p);
  const auto queries_of = [&](Index task) -> Queries {
    if (task >= tasks) return {};
    const Index first = task % runs_of(p) * kBlocksPerTask * kQueryBlock;
    return {task / runs_of(p), first, std::min(first + kBlocksPerTask * kQueryBlock, p.query_len)};
  };
  for (Index round = 0; round < s.rounds; ++round) {
    context.arena().for_each(tasks, [&](Index task, int worker) {
      Run run(rounds, round, inputs, outputs, state, scratch[static_cast<size_t>(worker)]);
      run.attend(queries_of(task), queries_of(task + context.threads()));
    });
  }
}

Index lsh_attention_bytes(const Problem& p, const LshSettings& s, Index heads, int threads) {
  return 2 * Workspace::bytes_for<float>(state_floats(p, s, heads)) +
         Workspace::bytes_for<Scratch>(threads) + threads * Scratch::bytes(p, s.rounds);
}

}  // namespace longattn

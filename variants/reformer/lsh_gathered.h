#pragma once

#include "core/attention.h"
#include "core/kernels.h"
#include "variants/reformer/lsh_rounds.h"

// Inside of Reformer's forward: keys and values on the way from where they lie to the arithmetic.
namespace longattn {

/// Keys gathered at a time.
inline constexpr Index kLshTile = 512;
static_assert(kLshTile % kernels::kPanel == 0);

/// Keys and values of consecutive places of one round, side by side: a window that moves over the
/// sorted keys, so that what neighbouring blocks of queries share is gathered once. Column c of it
/// is place begin() + c. Storage of 16 bits is read as float32.
class LshGathered {
 public:
  /// Of one worker.
  struct Buffers {
    Buffers(const Problem& problem, Index rounds, Workspace& workspace);
    static Index bytes(const Problem& problem, Index rounds);

    std::span<float> keys;         // panels
    std::span<float> values;       // [kLshTile, value_columns]
    std::span<float> convert;      // rows of 16-bit storage as floats: a panel of keys, or a value
    std::span<std::uint8_t> tags;  // [rounds, kLshTile]: of the keys, and their places in each
    std::span<std::int32_t> places;     // round
    std::span<Index> odd_columns;       // with an infinite or NaN value
    std::span<std::uint16_t> odd_rows;  // of a strip: those that weigh such a column
  };
  static Index value_columns(const Problem& p) {
    return kernels::round_up(p.value_dim, kernels::kRowPad);
  }

  LshGathered(const LshRounds& rounds, Index round, const Inputs& inputs, Buffers& buffers);

  /// Sees to it that places [begin, end), at most kLshTile from the panel of the first on, are
  /// here. begin() is always the first of a panel, so that what is computed does not depend on what
  /// was here before.
  void gather(Index begin, Index end);
  Index begin() const { return begin_; }
  Index end() const { return end_; }
  bool holds(Index place) const { return place >= begin_ && place < end_; }
  const float* panels() const { return buffers_.keys.data(); }
  const float* values() const { return buffers_.values.data(); }

  /// Sets to -inf the scores, in the columns of `range`, of keys that the query met in an earlier
  /// round: they have their weight already.
  void hide_met(Index head, Index query, kernels::ColumnRange range, float* scores) const;

  /// A value that is infinite or NaN would reach queries that do not weigh it as 0 * NaN: values()
  /// holds 0 in its place. For a strip of scores, rows kernels::kScoreStride apart: notes which
  /// rows weigh such a column of `used` while the scores that do not count are -inf; and adds it to
  /// theirs when the scores have become weights.
  void note_odd_rows(Index rows, kernels::ColumnRange used, const float* scores);
  void add_odd_values(Index rows, kernels::ColumnRange used, const float* weights,
                      float* accumulator);

  /// A row as floats: in place, or in one of kPanel slots.
  const float* floats(const ConstTensorView& view, Index head, Index row, Index slot);

 private:
  void forget_columns(Index count);
  void gather_values(Index column, Index count);

  const Problem& p_;
  const LshRounds& rounds_;
  const Index round_;
  const Index* const order_;  // keys by place
  const Inputs& inputs_;
  Buffers& buffers_;
  const Index value_columns_;
  const kernels::Kernels& k_ = kernels::best();
  Index begin_ = 0, end_ = 0, odd_ = 0;
};

}  // namespace longattn

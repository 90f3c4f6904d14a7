#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/options.h"
#include "core/tensor.h"

// Inside of Reformer: its settings, and the hash that its definition and forward share.
namespace longattn {

/// What the options say for one Problem.
struct LshSettings {
  LshSettings(const Problem& problem, const Options& options);
  /// What is wrong with the options; empty: nothing.
  static std::string refusal(const Problem& problem, const Options& options);

  Index num_buckets() const { return factors[0] * factors[1]; }
  Index chunks(Index keys) const { return (keys + chunk - 1) / chunk; }
  Index rotation_heads(const Problem& p) const { return shared_qk ? p.num_heads : p.num_kv_heads; }
  Index rotation_head(const Problem& p, Index head) const {
    return shared_qk ? head : p.kv_head(head);
  }
  /// Most keys that a row sees in one round.
  Index window(Index keys) const {
    return chunks(keys) <= look_back + 1 ? keys : chunk * (look_back + 1);
  }

  Index rounds;                    ///< num_hashes; 1 where all rounds would be alike
  std::array<Index, 2> factors{};  ///< of the number of buckets; the second is 1 up to 128
  Index chunk;                     ///< keys, at least 1
  Index look_back;                 ///< chunks, fewer than there are
  bool shared_qk, across_buckets, wrap_around;
  std::uint64_t seed;
};

/// The hash of every round: buckets of rows of queries or keys.
class LshHash {
 public:
  /// Draws the rotations of all heads: 8 heads * head_dim * rounds * (sum of factors) / 2 bytes.
  LshHash(const Problem& problem, const LshSettings& settings);

  /// Bucket of row first + n of a (batch entry, head) in each round, for n < count, by the
  /// rotations of `rotation_head`: written to buckets[round * stride + n]. Needs scratch_doubles().
  void buckets(const ConstTensorView& rows, Index batch_entry, Index head, Index rotation_head,
               Index first, Index count, double* scratch, std::int32_t* buckets,
               Index stride) const;
  Index scratch_doubles() const;
  /// Products with directions behind the buckets of one row.
  Index directions() const { return rounds_ * (half_[0] + half_[1]); }

 private:
  const double* rotation(Index head, Index round, int factor) const;

  Index head_dim_, rounds_;
  std::array<Index, 2> factors_, half_;  // half_: directions of a factor; 0: it has one bucket
  std::vector<double> rotations_;        // float32 numbers
};

}  // namespace longattn

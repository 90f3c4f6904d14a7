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
  /// rotations of `rotation_head`: written to buckets[round * stride + n]. Needs scratch_floats().
  void buckets(const ConstTensorView& rows, Index batch_entry, Index head, Index rotation_head,
               Index first, Index count, float* scratch, std::int32_t* buckets, Index stride) const;
  Index scratch_floats() const;
  Index bytes() const {
    return static_cast<Index>((rotations_.size() + strips_.size()) * sizeof(float));
  }
  /// Products with directions behind the buckets of one row.
  Index directions() const { return rounds_ * (half_[0] + half_[1]); }

 private:
  // The directions of a factor in a round, among those of all factors and rounds.
  Index first_direction(Index round, int factor) const {
    return round * (half_[0] + half_[1]) + (factor == 0 ? 0 : half_[0]);
  }
  void pack_strips(Index heads);
  void find_uncertainties(const float* panel, float* uncertainty) const;
  std::int32_t exact_bucket(const float* row, Index rotation_head, Index round, int factor) const;
  const float* row_floats(const ConstTensorView& rows, Index b, Index head, Index row,
                          float* copy) const;

  Index head_dim_, rounds_;
  std::array<Index, 2> factors_, half_;  // half_: directions of a factor; 0: it has one bucket
  double longest_ = 0;                   // norm of a direction
  std::vector<float> rotations_;         // [heads][rounds, factors][head_dim, half]
  std::vector<float> strips_;            // [heads]: all directions as the kernels' strips
};

}  // namespace longattn

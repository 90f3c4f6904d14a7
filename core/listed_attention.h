#pragma once

#include <cstddef>

#include "core/attention.h"
#include "core/block_schedule.h"

namespace longattn {

/// Chooses, query by query, the keys that a softmax runs over: the one place where a variant makes
/// a choice that follows no pattern of blocks. Immutable and shared between threads.
class KeyChooser {
 public:
  virtual ~KeyChooser() = default;

  /// Queries handed to one choose() call at most.
  static constexpr Index kGroup = 8;

  virtual Index max_keys() const = 0;       ///< most keys of one query
  virtual Index scratch_bytes() const = 0;  ///< that choose() needs
  /// For each of at most kGroup queries n of one (batch entry, head): writes its keys, ascending
  /// and all shown by the Problem's mask, from keys[n * max_keys()] on, and their number to
  /// counts[n]. `scratch` is aligned to 64 bytes. What is chosen for a query must not depend on the
  /// others.
  virtual void choose(const Inputs& inputs, Index batch_entry, Index head, const TokenSet& queries,
                      std::byte* scratch, Index* keys, Index* counts) const = 0;
};

/// Softmax attention of every query over the keys chosen for it, a chunk of queries at a time:
/// first all workers choose, then the blocked engine attends, one query a block. Chosen keys are
/// gathered, so that time follows their number; memory is that of one chunk's lists, not of all.
/// The definition is a softmax over the keys that the same chooser names. A variant adds what
/// choosing costs.
class ListedAttention : public Attention {
 public:
  using Attention::Attention;

  std::unique_ptr<Definition> definition(const Inputs& inputs, Index batch_entry,
                                         Index head) const override;
  Rounding rounding() const override;

 protected:
  virtual const KeyChooser& chooser() const = 0;
  /// A Cost of `pairs` scored pairs, with exactly what forward takes from the workspace at most.
  Cost listed_cost(double pairs, int threads) const;

 private:
  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context& context) const override;
};

}  // namespace longattn

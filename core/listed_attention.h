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
void listed_attention(const Problem& problem, const Inputs& inputs, const KeyChooser& chooser,
                      const Outputs& outputs, Context& context);

/// Exactly what listed_attention takes from the workspace at most.
Index listed_workspace_bytes(const Problem& problem, const KeyChooser& chooser, int threads);

/// As Attention::rounding() wants it.
Attention::Rounding listed_rounding(const Problem& problem);

/// The definition: a softmax over the keys that the same chooser names.
std::unique_ptr<Definition> listed_definition(const Problem& problem, const Inputs& inputs,
                                              const KeyChooser& chooser, Index batch_entry,
                                              Index head);

}  // namespace longattn

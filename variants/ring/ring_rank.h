#pragma once

#include <array>
#include <span>

#include "core/attention.h"
#include "core/softmax_state.h"
#include "variants/ring/communicator.h"
#include "variants/ring/ring_plan.h"

namespace longattn {

/// What one rank does: the same lines whether ranks are stepped through by one thread, are threads,
/// or processes on machines of their own.
///
///   load;  for t = 0 .. P-1: post(t), compute(t), complete(t);  store
///
/// post starts the exchange of the step, receive first; compute works on the block at hand
/// meanwhile; complete waits, and the block that came takes its place. (If the plan gathers,
/// post(0) starts all exchanges, and complete(t) waits for the block of the next step.) The softmax
/// state goes from block to block in float32 and is divided once, at the end: no partial output is
/// rounded or merged. A rank without work at a step passes its block on all the same.
class RingRank {
 public:
  /// Takes plan.memory_bytes(rank) bytes from the workspace, which outlive it. `whole` is the
  /// Problem of the plan.
  RingRank(const RingPlan& plan, const Problem& whole, Communicator& communicator,
           Workspace& workspace);

  int rank() const { return rank_; }

  /// Copies the rank's own queries, keys and values, out of tensors of the whole sequence.
  void load(const Inputs& inputs);
  /// The same out of tensors that hold nothing else, in the order of the shards.
  void load_own(const Inputs& own);
  void post(int step);
  void compute(int step, Context& context);
  void complete(int step, Communicator::Deadline deadline);
  /// Writes the rank's own rows of the outputs.
  void store(const Outputs& outputs) const;
  /// The same into tensors that hold nothing else.
  void store_own(const Outputs& own) const { finish(state_, own); }

 private:
  std::span<std::byte> block(int step) const;  // the bytes in use of the buffer of a step
  void post_all();
  static size_t slot(int step) { return static_cast<size_t>(step % kMostGathered); }
  const std::byte* widened(int step) const;
  Inputs inputs_of(int step) const;
  void load(const Inputs& inputs, const Shard& queries, const Shard& keys);

  const RingPlan& plan_;
  const Problem& whole_;
  Communicator& communicator_;
  const int rank_;
  std::span<std::byte> queries_;
  // Keys, then values, of a block; by places.
  std::array<std::span<std::byte>, kMostGathered> buffers_;
  std::span<std::byte> widened_;  // one block in the Problem's storage type
  SoftmaxState state_;
  // By steps; of a ring, where no two are under way at once, modulo the size.
  std::array<Request, kMostGathered> sending_, receiving_;
};

}  // namespace longattn

#pragma once

#include "core/variant.h"
#include "variants/ring/ring_model.h"
#include "variants/ring/ring_plan.h"

namespace longattn {

/// Full attention, exactly, over a sequence that no rank holds alone.
///
///   O = softmax(scale Q K^T + mask) V,   the softmax carried from block to block as in blockwise
///
/// Each of P ranks holds a shard of the queries, keys and values. Keys and values go round: at step
/// t = 0 .. P-1 a rank works on those that began at rank r - t mod P and passes them to rank r + 1
/// meanwhile. P - 1 hops, not P, and none to ranks that have no query for a block; grouped key and
/// value heads travel as they are, in their storage type.
///
/// Layouts (tokens of a rank): contiguous, the paper's, where under a causal mask the longest chain
/// of work keeps ranks busy P / (2P - 1) of the time; zigzag, parts r and 2P - 1 - r of 2P (Llama
/// 3), where it is all of the time; striped, token t at rank t mod P (Brandon et al. 2023), just
/// below. auto counts the pairs of each (causal or not; padding and documents aside, because they
/// may differ between batch entries) and takes the best balanced; of equals the one that sends
/// least: zigzag if causal, contiguous if not. Any length and any P are taken, shards differ by a
/// token or two and may be empty; nothing is padded. With query_len != key_len queries are laid out
/// over their own length, so that a few new tokens are shared out as well.
///
/// With a window w a query sees keys at most w tokens from its own alone, on either side; blocks
/// travel no further than some query sees them. With a wire type of bfloat16 keys and values are
/// rounded once, before they travel, the rank's own ones too, so that every layout computes the
/// same: W is a softmax over rounded keys, and the rounding of values is part of the tolerance.
/// exchange all_gather sends each block to all that need it at once: one latency, but the memory of
/// all keys and values. auto takes it over MPI where forecast() (ring_model.h) says that it saves a
/// tenth on hosts of 50 Gflop/s joined by links of 1 GB/s and 50 us latency, for at most 64 ranks
/// and 64 MiB of a rank; figures() tells which it is.
///
/// Options: ranks (P), layout, transport, window, wire, exchange. forward has all ranks in this
/// process, their blocks copied from buffer to buffer by a Communicator; within a step the ranks'
/// work is done one after the other on all threads of the Context, so that no more threads run than
/// asked for. With transport `mpi` an experiment starts each rank as a process of its own instead,
/// which holds nothing but its shard: the same lines (ring_rank.h), the same bits.
///
/// Takes every part of the Problem. Exact: state in float32 from the first block to the last, one
/// division, no partial output rounded or merged (a published source of error that grows with P).
/// Bits depend on P and layout, not on threads.
///
/// Cost: the pairs of full attention. A rank sends (P - 1) N/P num_kv_heads (head_dim + value_dim)
/// elements at the most, and holds its queries, two blocks of keys and values and its state:
/// O(N / P). RingPlan says both exactly; workspace is the sum over ranks and the engine's tiles of
/// one step.
///
/// Papers: Liu, Zaharia & Abbeel 2023, Ring Attention with Blockwise Transformers (2310.01889),
/// section 3; Brandon et al. 2023, Striped Attention (2311.09431), section 3; Llama Team 2024
/// (2407.21783), section 3.3.2, for the 2P parts.
extern const Variant kRing;

/// The plan that kRing makes: per rank shards, memory and bytes sent, and the balance.
RingPlan ring_plan(const Problem& problem, const Options& options);
/// The same on other machines: of so many ranks, whatever `ranks` and `transport` say, with room
/// for `depth` blocks each (RingSettings), and where `exchange` is auto the one that is faster
/// there; of a cluster without a rate, the ring.
RingPlan ring_plan(const Problem& problem, const Options& options, const Cluster& cluster,
                   int ranks, int depth = RingSettings{}.depth);

/// How many processes a setting of a variant is to be measured with: the ranks of ring with
/// transport `mpi`; 0: it is measured in one process like all others.
int process_count(std::string_view variant, const Options& options);

}  // namespace longattn

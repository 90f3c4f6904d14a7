#pragma once

#include "core/variant.h"

namespace longattn {

/// Locality-sensitive hashing: a query weighs the keys that were hashed to its bucket and stand
/// near it when all keys are sorted by bucket, in at least one of several rounds of hashing.
///
///   output_i = softmax over j in U_i of (scale q_i . k_j) v_j,    U_i = union over rounds of S_i
///
/// Each round, for n keys (those that padding leaves), n_k(b) of them and n_q(b) of the query_len
/// queries in bucket b, whose keys begin at sorted place start_k(b):
///   1. h(x) = argmax([x R; -x R]), R of N(0, 1) entries [head_dim, num_buckets / 2]: one bucket
///      for a direction and one for its opposite. More than 128 buckets are hashed in two even
///      factors, h = h_1 + factor_1 h_2.
///   2. Keys are sorted by (bucket, position) and cut into chunks of 2 bucket_size; the last may be
///      short.
///   3. Query i, of bucket b and of rank r among its queries in order of position, anchors at
///      sorted key start_k(b) + floor(r n_k(b) / n_q(b)), at most the last. It sees the anchor's
///      chunk and look_back chunks before it; of those, the keys of its own bucket unless
///      across_buckets.
/// With queries = keys, and no padding, a query anchors at itself: the paper's method. (Queries
/// that stand where padding begins count in n_q, as any other.) S_i is intersected with the
/// Problem's mask; positions travel with the sorted keys.
///
/// A pair that meets in several rounds counts once (the paper's term log N_ij; the published
/// programs leave it out and count it N_ij times), so the result is one softmax over U_i.
///
/// shared_qk takes keys := queries / ||queries|| (0 for a query of zeros), needs query_len =
/// key_len, and does not read the keys given; a token weighs itself only if U_i holds nothing else
/// (the paper's penalty of 10^5, made exact). Scores keep the Problem's scale: the paper and Trax
/// omit it (scale: 1), reformer-pytorch has 1/sqrt(head_dim). Such rows are no restriction of full
/// attention over the keys given; their error is told against full attention over the shared keys
/// too. More rounds may take a token out of its own row, so options do not nest.
///
/// wrap_around lets the first look_back chunks see the last ones, as the published programs do
/// (there those of the round before, because all rounds share one sort); the paper does not say.
///
/// Buckets: bucket_size tokens a bucket on average, num_buckets = 2 ceil(key_len / (2
/// bucket_size)), rounded up to a product of two even factors above 128; one bucket, and full
/// attention, if bucket_size >= key_len. Or (not both) num_buckets itself, 1 or even and at most
/// key_len, and bucket_size = ceil(key_len / num_buckets); then above 128 it must be a multiple
/// of 4. The paper's chunks are 2 key_len / num_buckets, as here. Rotations are drawn per kv head
/// (per head with shared_qk), which hashes a group's keys once; a round's rotation depends on seed,
/// head, round and nothing else, so more rounds only add keys.
///
/// Products of the hash are exact, their sums in double, ties go to the lowest bucket (where
/// products in float32 are apart by more than they can err, they decide): what definition and
/// forward both call. Storage of 16 bits is computed with as float32. Which keys a row weighs
/// depends on all keys, so under a causal mask the selection sees the future; what is weighed does
/// not. Masks: all; rows with no key are zero.
///
/// Cost: scored pairs at most num_hashes min(2 bucket_size (look_back + 1), seen keys) a row, pairs
/// of several rounds as often; of those only the row's bucket is computed unless across_buckets.
/// Hashing 2 N head_dim (factor_1 + factor_2) / 2 FLOP per round for queries, and for keys; sorting
/// by counting. Time and workspace O(N num_hashes), one kv head in flight.
///
/// Paper: Kitaev, Kaiser & Levskaya 2020, Reformer (2001.04451), section 2.
extern const Variant kReformer;

}  // namespace longattn

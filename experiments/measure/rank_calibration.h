#pragma once

#include "core/parallel.h"
#include "variants/ring/communicator.h"
#include "variants/ring/ring_model.h"

namespace longattn {

/// What the model of a ring (variants/ring/ring_model.h) needs to know of a machine, measured with
/// two ranks that do at once what ranks do: rate, overhead, network (the link between them) and
/// contention of the Cluster, all else as it is by default. Collective, of two ranks; every rank
/// gets the same. Medians of seven.
///
///   rate, overhead   a step of 4,096 queries by as many keys of `like`'s heads, not masked, and
///   one
///                    of a sixteenth of each, while the other rank computes too; fewer where these
///                    are more than 1e10 operations
///   latency          an exchange of 64 bytes, both ways at once
///   bandwidth        one of 8 MiB, less the latency
///   contention       what a step of a quarter of the tokens loses to an exchange beside it that
///                    takes 0.8 of its time, as a share of the exchange; of 21 pairs
///
/// Takes a few seconds. Throws CommunicatorError.
Cluster calibrate_ranks(Communicator& communicator, const Problem& like, Context& context,
                        Communicator::Deadline deadline);

}  // namespace longattn

#pragma once

#include <string>
#include <utility>
#include <vector>

#include "variants/ring/communicator.h"
#include "variants/ring/ring_plan.h"

namespace longattn {

/// What ranks must agree on, name by name.
using Facts = std::vector<std::pair<std::string, std::string>>;

/// Of a plan and its Problem: all that its messages depend on.
Facts facts_of(const RingPlan& plan, const Problem& problem);

/// Before the first block travels: throws at every rank, with the same sentence, unless all ranks
/// have the same facts: "ranks differ: head_dim is 128 at rank 0, 1, 3 and 64 at rank 2".
/// Collective.
void handshake(Communicator& communicator, const Facts& own, Communicator::Deadline deadline);

}  // namespace longattn

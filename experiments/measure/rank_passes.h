#pragma once

#include <atomic>
#include <nlohmann/json_fwd.hpp>

#include "core/variant.h"
#include "experiments/measure/worker.h"
#include "variants/ring/communicator.h"

namespace longattn {

/// What one rank contributes to a request, and the answer as rank_worker.h has it, the same at
/// every rank. Collective. `at_step` tells other threads which step of a pass it is; -1: none.
/// Throws CommunicatorError, at the latest when the others' patience (ring_pass.h) is over.
nlohmann::json rank_answer(const WorkerRequest& request, const Variant& variant,
                           Communicator& communicator, std::atomic<int>& at_step);

}  // namespace longattn

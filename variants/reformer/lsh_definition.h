#pragma once

#include <memory>

#include "core/attention.h"
#include "variants/reformer/lsh.h"

// Inside of Reformer: its definition.
namespace longattn {

/// Rows of one (batch entry, head), written as the header of the variant says them; of forward it
/// knows the hash alone.
std::unique_ptr<Definition> lsh_definition(const Problem& problem, const LshSettings& settings,
                                           const LshHash& hash, const Inputs& inputs,
                                           Index batch_entry, Index head);

/// Full attention over shared queries and keys: every key that the mask shows, oneself only if
/// there is no other.
std::unique_ptr<Definition> full_shared_definition(const Problem& problem, const Inputs& inputs,
                                                   Index batch_entry, Index head);

}  // namespace longattn

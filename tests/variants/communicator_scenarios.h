#pragma once

#include <memory>
#include <span>
#include <string>

#include "variants/ring/communicator.h"

namespace longattn {

/// Something that every communicator must do alike, as what each rank does; throws when it does
/// not. A rank may destroy its communicator.
struct CommunicatorScenario {
  const char* name;
  int ranks;
  void (*run)(std::unique_ptr<Communicator>& communicator);
  Index chunk_bytes = 1000;  ///< of a communicator that sends in pieces
};

std::span<const CommunicatorScenario> communicator_scenarios();

}  // namespace longattn

// mpi_ranks SCENARIO FOLDER: one rank of a scenario, under mpirun. Leaves its verdict in the folder
// and ends when all ranks have: a launcher ends the others when the first one goes.
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>
#include <thread>

#include "core/io/file.h"
#include "tests/variants/communicator_scenarios.h"
#include "variants/ring/mpi_communicator.h"

namespace {

using namespace longattn;

std::string play(const CommunicatorScenario& scenario,
                 std::unique_ptr<Communicator>& communicator) {
  if (communicator->size() != scenario.ranks) return "not that many ranks";
  try {
    scenario.run(communicator);
    return "passed";
  } catch (const std::exception& e) {
    return e.what();
  }
}

}  // namespace

int main(int, char** argv) {
  const std::filesystem::path folder = argv[2];
  for (const CommunicatorScenario& scenario : communicator_scenarios()) {
    if (scenario.name != std::string_view(argv[1])) continue;
    auto communicator = start_mpi(scenario.chunk_bytes);
    const std::string rank = std::to_string(communicator->rank());
    const std::string verdict = play(scenario, communicator);
    write_text((folder / (rank + ".part")).string(), verdict);
    std::filesystem::rename(folder / (rank + ".part"), folder / rank);
    const auto all = [&] {
      for (int n = 0; n < scenario.ranks; ++n) {
        if (!std::filesystem::exists(folder / std::to_string(n))) return false;
      }
      return true;
    };
    for (int n = 0; n < 6000 && !all(); ++n) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    communicator.reset();
    return verdict == "passed" ? 0 : 1;
  }
  return 2;
}

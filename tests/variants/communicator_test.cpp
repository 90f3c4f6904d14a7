#include "variants/ring/communicator.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "core/io/file.h"
#include "tests/mpi_environment.h"
#include "tests/temporary_folder.h"
#include "tests/variants/communicator_scenarios.h"
#include "variants/ring/mpi_communicator.h"
#include "variants/ring/shaped_network.h"
#include "variants/ring/thread_communicator.h"

namespace longattn {
namespace {

// Every communicator, held to the same scenarios: ranks that are threads, and processes.
class EveryCommunicator : public testing::TestWithParam<CommunicatorScenario> {};

using Wrap = std::function<std::unique_ptr<Communicator>(std::unique_ptr<Communicator>)>;

void run_with_threads(const CommunicatorScenario& scenario, const Wrap& wrap) {
  Workspace shared;
  ThreadTeam team(scenario.ranks, shared, 2 * scenario.ranks + 2);
  std::vector<std::string> verdicts(static_cast<size_t>(scenario.ranks));
  std::vector<std::jthread> ranks;
  for (int rank = 0; rank < scenario.ranks; ++rank) {
    ranks.emplace_back([&, rank] {
      std::unique_ptr<Communicator> own = wrap(std::make_unique<ThreadCommunicator>(team, rank));
      try {
        scenario.run(own);
      } catch (const std::exception& e) {
        verdicts[static_cast<size_t>(rank)] = e.what();
      }
    });
  }
  ranks.clear();  // joins
  for (int rank = 0; rank < scenario.ranks; ++rank) {
    EXPECT_EQ(verdicts[static_cast<size_t>(rank)], "") << "rank " << rank;
  }
}

TEST_P(EveryCommunicator, OfThreads) {
  run_with_threads(GetParam(), [](auto plain) { return plain; });
}

TEST_P(EveryCommunicator, OfThreadsJoinedByLinksThatTakeTime) {
  const Cluster cluster = {.network = {.latency = 1e-4, .bandwidth = 1e9}};
  ShapedNetwork network(cluster, GetParam().ranks, false, ShapedNetwork::Time::real);
  run_with_threads(GetParam(), [&](auto plain) {
    return std::make_unique<ShapedCommunicator>(network, std::move(plain));
  });
}

TEST_P(EveryCommunicator, OfProcessesOverMpi) {
  if (mpi_library().empty()) GTEST_SKIP() << kNoMpi;
  const CommunicatorScenario& scenario = GetParam();
  const TemporaryFolder folder;
  const TemporaryFolder verdicts;
  std::string command = "env ";
  for (const auto& [name, value] : mpi_environment()) command += name + "=" + value + " ";
  const char* launcher = std::getenv("LONGATTN_MPIRUN");  // of another MPI than the system's
  command += std::string("timeout 120 ") + (launcher == nullptr ? "mpirun" : launcher) + " -n " +
             std::to_string(scenario.ranks) + " " LONGATTN_MPI_RANKS " " + scenario.name + " " +
             verdicts.path() + " >" + (folder / "log") + " 2>&1 </dev/null";
  static_cast<void>(std::system(command.c_str()));
  for (int rank = 0; rank < scenario.ranks; ++rank) {
    const std::string file = verdicts / std::to_string(rank);
    ASSERT_TRUE(std::filesystem::exists(file)) << read_text(folder / "log", 1 << 16);
    EXPECT_EQ(read_text(file, 1 << 16), "passed") << "rank " << rank;
  }
}

INSTANTIATE_TEST_SUITE_P(Scenarios, EveryCommunicator, testing::ValuesIn(communicator_scenarios()),
                         [](const auto& instance) { return std::string(instance.param.name); });

}  // namespace
}  // namespace longattn

// Ranks that are processes, as a user runs them: `run` starts a launcher, which starts them.
#include <gtest/gtest.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "experiments/results.h"
#include "tests/experiments/run_testing.h"
#include "tests/mpi_environment.h"
#include "variants/ring/mpi_communicator.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;

class Ranks : public RunTest {
 protected:
  void SetUp() override {
    if (mpi_library().empty()) GTEST_SKIP() << kNoMpi;
  }
  int run_config(const fs::path& config) {
    return call(kProgram, run_of(config), mpi_environment());
  }
  std::vector<CellResult> cells() const { return results_from_folder(results_folder()).cells; }

  // A run that repeats passes for half a minute, and what became of it when one of its ranks got a
  // signal in the midst of them.
  CellResult with_a_rank_that_gets(int signal) {
    const fs::path config = write_config(
        "[{ring: {ranks: 3, transport: mpi}}, zero]",
        "measure: {rounds: 1, min_time: 30s, error: false, memory: false, patterns: false}\n"
        "limits: {time: 60s, patience: 1s}\nwhere: variant == 'ring'",
        "[3000]");
    const pid_t run = start(kProgram, run_of(config), mpi_environment());
    pid_t launcher = 0;
    const auto started = [&] {
      launcher = child_of(run);
      rank_ = launcher == 0 ? 0 : child_of(launcher);
      return rank_ != 0 && is_busy(rank_);
    };
    EXPECT_TRUE(eventually(started));
    kill(rank_, signal);
    EXPECT_EQ(finish(run), 1) << err();
    EXPECT_TRUE(eventually([&] { return kill(rank_, 0) != 0; })) << "a rank outlived its run";
    return cells().at(0);
  }

  // It has used some processor time: more than starting takes.
  static bool is_busy(pid_t process) {
    const std::string stat = slurp(fs::path("/proc") / std::to_string(process) / "stat");
    std::istringstream fields(stat.substr(std::min(stat.find(')'), stat.size())));
    std::string skipped;
    long ticks = 0;
    for (int n = 0; n < 12; ++n) fields >> skipped;
    fields >> ticks;
    return ticks > sysconf(_SC_CLK_TCK);
  }

  pid_t rank_ = 0;
};

double value_of(const std::vector<PlanFigure>& figures, const std::string& name, size_t rank = 0) {
  const auto found = std::ranges::find(figures, name, &PlanFigure::name);
  if (found == figures.end()) {
    ADD_FAILURE() << "no " << name;
    return -1;
  }
  return found->values.at(rank);
}

TEST_F(Ranks, AreMeasuredAndJudgedLikeEveryOtherCell) {
  const fs::path config =
      write_config("[blockwise, {ring: {sweep: {ranks: [1, 3], transport: [thread, mpi]}}}]",
                   "measure: {rounds: 2, min_time: 1ms, error_rows: 64}", "[5, 211]");
  EXPECT_EQ(run_config(config), 0) << err();
  int processes = 0;
  for (const CellResult& cell : cells()) {
    EXPECT_EQ(cell.status, Status::ok) << cell.reason;
    EXPECT_EQ(cell.round_seconds.size(), 2u);
    EXPECT_LE(*cell.implementation_ratio, 1);
    EXPECT_EQ(cell.relative_error->value, 0);
    EXPECT_FALSE(cell.nondeterministic);
    if (cell.measured.empty()) continue;
    ++processes;
    const size_t ranks =
        std::ranges::find(cell.figures, "rank_memory_bytes", &PlanFigure::name)->values.size();
    double workspace = 0;
    for (size_t rank = 0; rank < ranks; ++rank) {
      EXPECT_GT(value_of(cell.measured, "rank_compute_s", rank), 0);
      EXPECT_GE(value_of(cell.measured, "rank_wait_s", rank), 0);
      workspace += value_of(cell.measured, "rank_workspace_bytes", rank);
      EXPECT_GE(value_of(cell.measured, "rank_workspace_bytes", rank),
                value_of(cell.figures, "rank_memory_bytes", rank));
    }
    EXPECT_EQ(workspace, *cell.workspace_bytes);
    EXPECT_LE(workspace, *cell.workspace_predicted_bytes);
    EXPECT_EQ(std::ranges::count(cell.measured, "overlap", &PlanFigure::name), ranks > 1 ? 1 : 0);
  }
  EXPECT_EQ(processes, 4);
  const std::string table = slurp(folder_ / "results" / "results.csv");
  EXPECT_NE(table.find("measured.overlap"), std::string::npos);
  EXPECT_NE(out().find("overlap"), std::string::npos) << out();
}

// Of the shipped trace, the same errors as in one process.
TEST_F(Ranks, ReadTheirPartsOfATrace) {
  const fs::path config = folder_ / "trace.yaml";
  write_text(config.string(),
             "longattn: 1\nname: test\nthreads: 1\ninputs: [{trace: '" LONGATTN_SOURCE_DIR
             "/configs/traces/kjv-2048.safetensors', layer: 1}]\nproblem: {lengths: [301]}\n"
             "variants: [{ring: {sweep: {ranks: [3], layout: [zigzag, striped], "
             "transport: [thread, mpi]}}}]\n"
             "measure: {rounds: 1, min_time: 1ms, error_rows: 64, patterns: false}\n");
  EXPECT_EQ(run_config(config), 0) << err();
  const auto all = cells();
  ASSERT_EQ(all.size(), 4u);
  for (const CellResult& cell : all) {
    EXPECT_EQ(cell.status, Status::ok) << cell.reason;
    EXPECT_NEAR(*cell.row_entropy, *all[0].row_entropy, 1e-9);
    EXPECT_NEAR(*cell.mean_value_error, *all[0].mean_value_error, 1e-9);
    EXPECT_NEAR(*cell.gate_resolution, *all[0].gate_resolution, 1e-9);
  }
}

TEST_F(Ranks, ThatAreKilledAreACrashThatNamesThem) {
  const CellResult cell = with_a_rank_that_gets(SIGKILL);
  EXPECT_EQ(cell.status, Status::crash);
  EXPECT_NE(cell.reason.find("rank "), std::string::npos) << cell.reason;
  EXPECT_NE(cell.reason.find("signal 9"), std::string::npos) << cell.reason;
  EXPECT_NE(cell.reason.find(" was told to end"), std::string::npos) << cell.reason;
}

TEST_F(Ranks, ThatHangAreATimeoutThatNamesRankStepAndBytes) {
  const CellResult cell = with_a_rank_that_gets(SIGSTOP);
  EXPECT_EQ(cell.status, Status::timeout);
  EXPECT_NE(cell.reason.find(" waited in vain for "), std::string::npos) << cell.reason;
  EXPECT_NE(cell.reason.find(" bytes have moved"), std::string::npos) << cell.reason;
}

TEST_F(Ranks, DoNotOutliveARunThatIsKilled) {
  const fs::path config = write_config(
      "[{ring: {ranks: 2, transport: mpi}}]",
      "measure: {rounds: 1, min_time: 30s, error: false, memory: false, patterns: false}",
      "[3000]");
  const pid_t run = start(kProgram, run_of(config), mpi_environment());
  pid_t launcher = 0;
  EXPECT_TRUE(eventually([&] {
    launcher = child_of(run);
    return launcher != 0 && (rank_ = child_of(launcher)) != 0 && is_busy(rank_);
  }));
  kill(run, SIGKILL);
  EXPECT_EQ(finish(run), -SIGKILL);
  EXPECT_TRUE(eventually([&] { return kill(rank_, 0) != 0; })) << "a rank outlived its run";
}

TEST_F(Ranks, OfALauncherThatIsMissingOrStartsOtherNumbersAreACrashThatSaysSo) {
  for (const auto& [launcher, reason] :
       {std::pair("no-such-launcher -n {ranks}", "no-such-launcher"),
        {"env NUMBER={ranks}", "the launcher started 1 ranks, the cell has 3"},
        {"mpirun -n 2 -x NUMBER={ranks}", "the launcher started 2 ranks, the cell has 3"}}) {
    const fs::path config = write_config("[{ring: {ranks: 3, transport: mpi}}]",
                                         std::string(kQuick) + "\nlauncher: '" + launcher + "'");
    fs::remove_all(results_folder());
    EXPECT_EQ(run_config(config), 1) << err();
    EXPECT_EQ(cells().at(0).status, Status::crash);
    EXPECT_NE(cells().at(0).reason.find(reason), std::string::npos) << cells().at(0).reason;
  }
}

// What launchers say of a rank that was lost, and where, differs between MPIs; and one that cannot
// reach a host any more may wait for it, whatever its ranks have said.
TEST_F(Ranks, AreUnderstoodInTheWordsOfEveryLauncher) {
  const fs::path launcher = folder_ / "launcher";
  const std::string in_vain = "rank 1 waited in vain for message 0 from rank 0 to rank 1";
  for (const auto& [words, status, reason] :
       {std::tuple(
            "echo 'YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal 9)'; exit 9",
            Status::crash, std::string("EXIT STRING: Killed (signal 9)")),
        {"echo 'mpirun noticed that process rank 2 exited on signal 9 (Killed).' >&2; exit 137",
         Status::crash, "process rank 2 exited on signal 9"},
        {"echo 'longattn: error: rank 1 waited in vain for message 0 from rank 0 to rank 1' >&2; "
         "exec sleep 100",
         Status::timeout, in_vain}}) {
    write_text(launcher.string(), std::string("#!/bin/sh\n") + words + "\n");
    fs::permissions(launcher, fs::perms::owner_all);
    const fs::path config = write_config(
        "[{ring: {ranks: 3, transport: mpi}}]",
        "measure: {rounds: 1, error: false, memory: false, patterns: false}\nlauncher: '" +
            launcher.string() + " {ranks}'");
    fs::remove_all(results_folder());
    EXPECT_EQ(run_config(config), 1) << err();
    EXPECT_EQ(cells().at(0).status, status);
    EXPECT_NE(cells().at(0).reason.find(reason), std::string::npos) << cells().at(0).reason;
    EXPECT_EQ(cells().at(0).reason.find("the limit is"), std::string::npos);
  }
}

TEST_F(Ranks, AreLimitedInMemoryEach) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  const fs::path config = write_config("[{ring: {ranks: 2, transport: mpi}}]",
                                       std::string(kQuick) + "\nlimits: {memory: 4MiB}", "[60000]");
  EXPECT_EQ(run_config(config), 0) << err();
  EXPECT_EQ(cells().at(0).status, Status::skipped);
  EXPECT_NE(cells().at(0).reason.find(" a rank, limit 4.00 MiB"), std::string::npos)
      << cells().at(0).reason;
#endif
}

class Launcher : public RunTest {};

TEST_F(Launcher, MustSayWhereTheNumberOfRanksBelongs) {
  const fs::path config =
      write_config("[{ring: {ranks: 3, transport: mpi}}]", "launcher: mpirun -n 4");
  EXPECT_EQ(call(kProgram, run_of(config)), 2);
  EXPECT_NE(err().find("launcher is 'mpirun -n 4', expected {ranks} in it"), std::string::npos)
      << err();
}

TEST_F(Launcher, IsNotMissedWithoutMpi) {
  if (!mpi_library().empty()) GTEST_SKIP() << "built with MPI";
  const fs::path config = write_config("[{ring: {ranks: 3, transport: mpi}}]", kQuick);
  EXPECT_EQ(call(kProgram, run_of(config)), 0) << err();
  EXPECT_EQ(results().at("ring").status, Status::unsupported);
  EXPECT_NE(results().at("ring").reason.find("built without MPI"), std::string::npos);
}

}  // namespace
}  // namespace longattn

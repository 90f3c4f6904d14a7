#include "experiments/judge/compare.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/random.h"
#include "experiments/exit_codes.h"
#include "experiments/journal.h"
#include "experiments/judge/statistics.h"
#include "experiments/report/comparison.h"
#include "experiments/serialize.h"
#include "tests/experiments/command_testing.h"
#include "tests/temporary_folder.h"

namespace longattn {
namespace {

using ::testing::HasSubstr;

// `cells` cells of `rounds` rounds each, log-normal around a millisecond with a spread of 3 %.
RunResults run_of(std::uint64_t seed, Index cells, Index rounds) {
  RunResults results;
  results.provenance = {{"processor", "P"}, {"cores", "2"}};
  for (Index n = 0; n < cells; ++n) {
    CellResult result;
    result.cell.id = fmt::format("{:016x}", n);
    result.cell.variant = fmt::format("variant_{}", n);
    result.cell.problem.key_len = 1024;
    const CounterRandom random(seed, static_cast<std::uint64_t>(n));
    for (Index r = 0; r < rounds; ++r) {
      result.round_seconds.push_back(1e-3 *
                                     std::exp(0.03 * random.normal(static_cast<std::uint64_t>(r))));
    }
    result.time_s = median_interval(result.round_seconds);
    result.relative_error = Estimate{0.1, 0.09, 0.11};
    result.workspace_bytes = 4096;
    results.cells.push_back(result);
  }
  return results;
}

void slow_down(CellResult& result, double factor) {
  for (double& seconds : result.round_seconds) seconds *= factor;
}

bool fires(const Comparison& comparison) {
  return std::ranges::any_of(comparison.cells, [](const CellComparison& cell) {
    return cell.verdict == Verdict::slower || cell.verdict == Verdict::faster;
  });
}

TEST(Compare, FindsOneSlowCellAmongThirty) {
  const RunResults before = run_of(1, 30, 9);
  RunResults after = run_of(2, 30, 9);
  slow_down(after.cells[17], 1.2);
  slow_down(after.cells[20], 1 / 1.2);
  const Comparison comparison = compare_runs(before, after, {});
  for (size_t n = 0; n < 30; ++n) {
    const Verdict verdict = comparison.cells[n].verdict;
    EXPECT_EQ(verdict == Verdict::slower, n == 17);
    EXPECT_EQ(verdict == Verdict::faster, n == 20);
  }
  EXPECT_TRUE(comparison.regressed());
  EXPECT_THAT(comparison_text(comparison, {}), HasSubstr("1 slower"));
}

TEST(Compare, ASmallerChangeThanIsOfInterestIsNoRegression) {
  const RunResults before = run_of(1, 1, 60);
  RunResults after = run_of(2, 1, 60);
  slow_down(after.cells[0], 1.025);
  const Comparison comparison = compare_runs(before, after, {});
  EXPECT_EQ(comparison.cells[0].verdict, Verdict::equivalent);
  EXPECT_FALSE(comparison.regressed());
  EXPECT_EQ(compare_runs(before, after, {0.05, 0}).cells[0].verdict, Verdict::slower);
}

// With no minimum effect, so that the test alone has to keep quiet: of runs that do not differ at
// most alpha may raise any alarm among their 10 cells, give or take three standard errors.
TEST(Compare, OfTwoLikeRunsIsSilentAtItsStatedRate) {
  constexpr int kRepeats = 1000;
  int alarms = 0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const auto seed = static_cast<std::uint64_t>(2 * repeat);
    const RunResults before = run_of(seed, 10, 9), after = run_of(seed + 1, 10, 9);
    alarms += fires(compare_runs(before, after, {0.05, 0}));
  }
  EXPECT_LE(alarms, (0.05 + 3 * std::sqrt(0.05 * 0.95 / kRepeats)) * kRepeats);
  EXPECT_GT(alarms, 0) << "a test that never fires says nothing";
}

TEST(Compare, SaysHowManyRoundsSoManyCellsNeed) {
  const RunResults before = run_of(1, 30, 3);
  RunResults after = run_of(2, 30, 3);
  slow_down(after.cells[0], 10);
  const Comparison comparison = compare_runs(before, after, {});
  EXPECT_EQ(comparison.cells[0].verdict, Verdict::too_few_rounds);
  // 30 * 2 / C(2n, n): 0.065 for n = 6, 0.017 for n = 7.
  EXPECT_EQ(comparison.rounds_needed, 7);
  EXPECT_THAT(comparison_text(comparison, {}), HasSubstr("7 on each side are needed"));
}

TEST(Compare, HoldsErrorsMemoryAndStatusExactly) {
  const RunResults before = run_of(1, 4, 9);
  RunResults after = run_of(1, 4, 9);
  after.cells[0].relative_error->value = std::nextafter(0.1, 1.0);
  after.cells[1].workspace_bytes = 4095;
  after.cells[2].status = Status::crash;
  after.cells[2].reason = "signal 11";
  after.cells[2].round_seconds.clear();
  const Comparison comparison = compare_runs(before, after, {});
  ASSERT_EQ(comparison.cells[0].changes.size(), 1u);
  EXPECT_TRUE(comparison.cells[0].changes[0].worse);
  ASSERT_EQ(comparison.cells[1].changes.size(), 1u);
  EXPECT_FALSE(comparison.cells[1].changes[0].worse);
  ASSERT_EQ(comparison.cells[2].changes.size(), 1u);
  EXPECT_TRUE(comparison.cells[2].changes[0].worse);
  EXPECT_EQ(comparison.cells[2].verdict, Verdict::not_comparable);
  EXPECT_TRUE(comparison.cells[3].changes.empty());
  EXPECT_EQ(comparison.cells[3].verdict, Verdict::equivalent);
  const std::string text = comparison_text(comparison, {});
  EXPECT_THAT(text, HasSubstr("relative error 0.10000000000000002, was 0.1"));
  EXPECT_THAT(text, HasSubstr("workspace 4095 bytes, was 4096"));
  EXPECT_THAT(text, HasSubstr("status crash, was ok: signal 11"));
}

TEST(Compare, OfAnotherMachineComparesNoTimeButErrors) {
  const RunResults before = run_of(1, 2, 9);
  RunResults after = run_of(2, 2, 9);
  after.provenance[0].second = "Q";
  slow_down(after.cells[0], 10);
  EXPECT_FALSE(compare_runs(before, after, {}).regressed());
  after.cells[1].relative_error->value = 0.2;
  const Comparison comparison = compare_runs(before, after, {});
  EXPECT_TRUE(comparison.regressed());
  EXPECT_THAT(comparison_text(comparison, {}), HasSubstr("processor: P, then Q"));
}

TEST(Compare, NamesCellsThatOneRunAloneHas) {
  const RunResults before = run_of(1, 3, 9);
  RunResults after = run_of(2, 4, 9);
  after.cells.erase(after.cells.begin());
  const Comparison comparison = compare_runs(before, after, {});
  EXPECT_EQ(comparison.cells.size(), 2u);
  EXPECT_EQ(comparison.only_before.size(), 1u);
  EXPECT_EQ(comparison.only_after.size(), 1u);
}

// A folder as a run leaves it.
std::string write_run(const std::string& folder, const RunResults& results) {
  std::filesystem::create_directory(folder);
  Journal journal = Journal::create(folder + "/journal.jsonl", {});
  journal.append({{"kind", "run"},
                  {"experiment", "compared"},
                  {"command", "longattn run compared.yaml"},
                  {"config", ""},
                  {"provenance", results.provenance}});
  for (const CellResult& result : results.cells) {
    journal.append({{"kind", "cell"},
                    {"cell", to_json(result.cell)},
                    {"planned", measurements_to_json(result)}});
  }
  return folder;
}

TEST(CompareCommand, EndsWithThreeOnlyWhenSomethingGotWorse) {
  const TemporaryFolder folder;
  RunResults worse = run_of(3, 3, 25);
  worse.cells[1].workspace_bytes = 8192;
  const std::string first = write_run(folder / "first", run_of(1, 3, 25)),
                    second = write_run(folder / "second", run_of(2, 3, 25)),
                    third = write_run(folder / "third", worse),
                    other = write_run(folder / "other", run_of(1, 0, 0));

  const CommandResult same = run_command({"compare", first, second});
  EXPECT_EQ(same.code, kExitOk) << same.out << same.err;
  EXPECT_THAT(same.out, HasSubstr("3 cells in both runs: 3 equivalent"));

  const CommandResult larger = run_command({"compare", first, third});
  EXPECT_EQ(larger.code, kExitRegression) << larger.out << larger.err;
  EXPECT_THAT(larger.out, HasSubstr("workspace 8192 bytes, was 4096"));

  const CommandResult json = run_command({"compare", first, third, "--json"});
  EXPECT_EQ(json.code, kExitRegression);
  EXPECT_TRUE(nlohmann::json::parse(json.out).at("regressed").get<bool>());

  const CommandResult strangers = run_command({"compare", first, other});
  EXPECT_EQ(strangers.code, kExitUsage);
  EXPECT_THAT(strangers.err, HasSubstr("no cell occurs in both runs (3 and 0 cells)"));
}

// A build that measures nothing: each round it hands out a run that was made beforehand, and notes
// that it was called.
std::string fake_build(const TemporaryFolder& folder, const std::string& name, std::uint64_t seed,
                       double factor, Index rounds) {
  const std::string program = folder / name;
  std::filesystem::create_directory(program + ".rounds");
  RunResults all = run_of(seed, 3, rounds);
  for (CellResult& result : all.cells) slow_down(result, factor);
  for (Index round = 1; round <= rounds; ++round) {
    RunResults one = all;
    for (CellResult& result : one.cells) {
      result.round_seconds = {result.round_seconds[static_cast<size_t>(round - 1)]};
    }
    write_run(fmt::format("{}.rounds/round-{}", program, round), one);
  }
  std::ofstream(program) << fmt::format(R"(#!/bin/sh
output=$4
echo "{} $*" >> "{}"
mkdir "$output" && cp "$0.rounds/$(basename "$output")/journal.jsonl" "$output"
)",
                                        name, folder / "calls");
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  return program;
}

CommandResult compare_builds(const TemporaryFolder& folder, const std::string& a,
                             const std::string& b, const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {
      "compare", "--ab", a, b, "my.yaml", "--output", folder / "ab" + b.substr(b.rfind('/') + 1)};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_command(arguments);
}

TEST(CompareBuilds, FiresAtASlowOneAndIsSilentAtALikeOne) {
  const TemporaryFolder folder;
  const std::string build = fake_build(folder, "build", 1, 1, 15),
                    alike = fake_build(folder, "alike", 2, 1, 15),
                    slow = fake_build(folder, "slow", 3, 1.25, 15);
  const CommandResult same = compare_builds(folder, build, alike, {"--rounds", "15"});
  EXPECT_EQ(same.code, kExitOk) << same.out << same.err;
  EXPECT_THAT(same.out, HasSubstr("3 equivalent"));
  const CommandResult slower = compare_builds(folder, build, slow, {"--rounds", "15"});
  EXPECT_EQ(slower.code, kExitRegression) << slower.out << slower.err;
  EXPECT_THAT(slower.out, HasSubstr("3 slower"));
  std::filesystem::remove_all(folder / "abslow");
  const CommandResult faster = compare_builds(folder, slow, build, {"--rounds", "15"});
  EXPECT_EQ(faster.code, kExitOk) << faster.out << faster.err;
  EXPECT_THAT(faster.out, HasSubstr("3 faster"));
}

TEST(CompareBuilds, RunsThemInTurnAndMeasuresErrorsOnce) {
  const TemporaryFolder folder;
  const std::string a = fake_build(folder, "a", 1, 1, 3), b = fake_build(folder, "b", 2, 1, 3);
  const CommandResult result =
      compare_builds(folder, a, b, {"--rounds", "3", "--set", "problem.head_dim=8"});
  EXPECT_EQ(result.code, kExitOk) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("too few rounds for so many cells: "));
  std::ifstream calls(folder / "calls");
  std::vector<std::string> order, lines;
  for (std::string line; std::getline(calls, line);) {
    order.push_back(line.substr(0, 1));
    lines.push_back(line);
  }
  EXPECT_THAT(order, ::testing::ElementsAre("a", "b", "b", "a", "a", "b"));
  for (size_t n = 0; n < lines.size(); ++n) {
    EXPECT_THAT(lines[n], HasSubstr(" run my.yaml --output "));
    EXPECT_THAT(lines[n], HasSubstr("--rounds 1 --no-report --set problem.head_dim=8"));
    EXPECT_EQ(lines[n].find("measure.error=false") != std::string::npos, n >= 2) << lines[n];
  }
}

TEST(CompareBuilds, NamesTheOneThatFails) {
  const TemporaryFolder folder;
  const std::string good = fake_build(folder, "good", 1, 1, 1);
  const std::string bad = folder.file("bad", "#!/bin/sh\necho no such config >&2\nexit 2\n");
  std::filesystem::permissions(bad, std::filesystem::perms::owner_all);
  const CommandResult result = compare_builds(folder, good, bad, {"--rounds", "1"});
  EXPECT_EQ(result.code, kExitUsage);
  EXPECT_THAT(result.err, HasSubstr("bad did not complete round 1 of my.yaml: exit code 2"));
  EXPECT_THAT(result.err, HasSubstr("no such config"));
  const CommandResult none = compare_builds(folder, good, folder / "none", {"--rounds", "1"});
  EXPECT_THAT(none.err, HasSubstr("none: cannot start: No such file"));
  EXPECT_EQ(run_command({"compare", folder / "one"}).code, kExitUsage);
}

// The real program against itself: two rounds cannot decide anything about time, and all else is
// the same.
TEST(CompareBuilds, OfOneProgramFindsNoDifference) {
  const TemporaryFolder folder;
  const std::string config = folder.file("config.yaml", R"(longattn: 1
name: ab
threads: 1
inputs: [{gaussian: {}}]
problem: {lengths: [40, 80], num_heads: 2, head_dim: 8}
variants: [full, longformer: {window: 4}]
measure: {min_time: 1ms, error_rows: 16}
)");
  const CommandResult result = run_command({"compare", "--ab", LONGATTN_PROGRAM, LONGATTN_PROGRAM,
                                            config, "--rounds", "2", "--output", folder / "ab"});
  EXPECT_EQ(result.code, kExitOk) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("4 cells in both runs: 4 too few rounds; errors, workspace and "
                                    "status the same"));
}

}  // namespace
}  // namespace longattn

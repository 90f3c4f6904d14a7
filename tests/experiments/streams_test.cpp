// Standard streams that are closed, or whose device is full.
#include <gtest/gtest.h>

#include <filesystem>

#include "experiments/results.h"
#include "tests/experiments/run_testing.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;

class Streams : public RunTest {
 protected:
  // Runs the tool below a shell that redirects, as in ">&-".
  int call_redirected(const std::string& redirection, const Arguments& arguments) {
    Arguments shell = {"-c", "exec \"$@\" " + redirection, "sh", kFaulty};
    shell.insert(shell.end(), arguments.begin(), arguments.end());
    return call("/bin/sh", shell);
  }
};

// The first files that are opened would take their numbers, and with them all that is said.
TEST_F(Streams, ThatAreClosedLeaveJournalAndLockAsTheyAre) {
  const fs::path config = write_config("[zero, nans]", kQuick);
  for (const char* closed : {"2>&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-", "<&- >&-"}) {
    // 74: there is nowhere to print the table.
    const bool prints = std::string(closed).find(" >&-") == std::string::npos && closed[0] != '>';
    EXPECT_EQ(call_redirected(closed, run_of(config, {"--no-report"})), prints ? 1 : 74) << closed;
    EXPECT_EQ(results().at("zero").round_seconds.size(), 2u) << closed;
    EXPECT_EQ(results().at("nans").status, Status::nan) << closed;
    EXPECT_NE(journal().find(R"("status":"complete")"), std::string::npos) << closed;
    const std::string lock = slurp(folder_ / "results" / "LOCK");
    EXPECT_TRUE(lock.starts_with("process ") && lock.ends_with(" UTC")) << closed << ": " << lock;
    fs::remove_all(results_folder());
  }
}

TEST_F(Streams, WhoseDeviceIsFullAreAnErrorOfEveryCommand) {
  const fs::path config = write_config("[zero]", kQuick);
  ASSERT_EQ(call(kFaulty, run_of(config, {"--no-report"})), 0) << err();
  const std::string trace = LONGATTN_SOURCE_DIR "/configs/traces/kjv-2048.safetensors";
  for (const Arguments& command : {Arguments{"list"},
                                   {"list", "--json"},
                                   {"describe", "full"},
                                   {"schema"},
                                   {"parameters"},
                                   {"inspect", trace},
                                   {"plan", config.string()},
                                   {"compare", results_folder(), results_folder()},
                                   resume(),
                                   {"--help"},
                                   {"run", "--help"}}) {
    EXPECT_EQ(call_redirected(">/dev/full", command), 74) << command[0];
    const std::string said = err();
    EXPECT_NE(said.find("longattn: error: cannot write "), std::string::npos) << said;
    EXPECT_NE(said.find("No space left on device"), std::string::npos) << said;
  }
}

}  // namespace
}  // namespace longattn

// Real disks that are full or read-only, and drawings that end in the middle.
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "experiments/results.h"
#include "tests/experiments/run_testing.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;

class Disks : public RunTest {
 protected:
  ~Disks() override { umount2(disk_.c_str(), MNT_DETACH); }
  bool mount_disk() {
    fs::create_directory(disk_);
    return mount("none", disk_.c_str(), "tmpfs", 0, "size=1m") == 0;
  }
  bool make_read_only() {
    return mount("none", disk_.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, "size=1m") == 0;
  }
  // Leaves so many bytes of it.
  void fill(std::uintmax_t leave) const {
    const std::uintmax_t free = fs::space(disk_).available;
    std::ofstream(ballast_, std::ios::binary) << std::string(free - leave, 'x');
    ASSERT_EQ(fs::space(disk_).available, leave);
  }
  static bool is_whole(const fs::path& file) {
    const bool svg = file.extension() == ".svg";
    if (!svg && file.extension() != ".pdf") return true;
    std::string text = slurp(file);
    text.erase(text.find_last_not_of('\n') + 1);
    return text.ends_with(svg ? "</svg>" : "%%EOF");
  }
  const fs::path disk_ = folder_ / "disk", ballast_ = disk_ / "ballast";
};

TEST_F(Disks, ThatFillUpUnderAReportEndItAndLeaveNoPlotInPieces) {
  if (!mount_disk()) GTEST_SKIP() << "mounting is not permitted here";
  const std::string folder = (disk_ / "run").string();
  const fs::path config = write_config("[full, zero]", kQuick);
  ASSERT_EQ(call(kProgram, {"run", config.string(), "--output", folder, "--no-report"}), 0)
      << err();
  for (const std::uintmax_t leave : {0, 16, 24, 32, 48}) {
    fill(leave * 1024);
    EXPECT_EQ(call(kProgram, {"report", folder}), 74) << leave << " KiB: " << err();
    EXPECT_NE(err().find("longattn: error: "), std::string::npos) << err();
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      EXPECT_TRUE(is_whole(entry.path())) << leave << " KiB: " << entry.path();
      EXPECT_NE(entry.path().extension(), ".tmp") << leave << " KiB: " << entry.path();
    }
    fs::remove(ballast_);
    fs::remove_all(disk_ / "run" / "plots");
    fs::remove(disk_ / "run" / "report.html");
  }
  EXPECT_EQ(call(kProgram, {"report", folder}), 0) << err();
}

// gnuplot does not notice a full disk: it ends as if all were well.
TEST_F(Disks, HoldNoDrawingThatEndsInTheMiddle) {
  const fs::path config = write_config("[full, zero]", kQuick);
  const fs::path programs = folder_ / "bin";
  fs::create_directory(programs);
  const std::string before = std::getenv("PATH");
  setenv("PATH", (programs.string() + ":" + before).c_str(), 1);
  // A page that ends within a tag, between tags, and a good one beside a PDF that is empty.
  for (const char* drawn :
       {"printf '<svg><g cla' >page.svg", "printf '<svg><g>' >page.svg",
        "for n in page time error workspace; do echo '<svg></svg>' >$n.svg; : >$n.pdf; done"}) {
    std::ofstream(programs / "gnuplot") << "#!/bin/sh\n" << drawn << "\n";
    fs::permissions(programs / "gnuplot", fs::perms::owner_all);
    EXPECT_EQ(call(kProgram, run_of(config)), 74) << err();
    EXPECT_NE(err().find(": not written whole: "), std::string::npos) << err();
    EXPECT_NE(err().find(" bytes free)"), std::string::npos) << err();
    const std::string page = slurp(folder_ / "results" / "report.html");
    EXPECT_NE(page.find("The plots could not be drawn: gnuplot"), std::string::npos);
    for (const auto& entry : fs::directory_iterator(folder_ / "results" / "plots")) {
      EXPECT_NE(entry.path().extension(), ".pdf") << entry.path();
    }
    fs::remove_all(results_folder());
  }
  setenv("PATH", before.c_str(), 1);
}

TEST_F(Disks, ThatAreReadOnlyAreFoundBeforeAnythingIsMeasured) {
  if (!mount_disk()) GTEST_SKIP() << "mounting is not permitted here";
  const std::string folder = (disk_ / "run").string(), empty = (disk_ / "empty").string();
  const fs::path config = write_config("[full, zero]", kQuick);
  fs::create_directory(empty);
  ASSERT_EQ(call(kProgram, {"run", config.string(), "--output", folder, "--no-report"}), 0)
      << err();
  ASSERT_TRUE(make_read_only());
  const std::string below = "cd " + disk_.string() + " && exec \"$0\" run " + config.string();
  const auto expect = [&](int code, const std::string& message) {
    EXPECT_EQ(code, 73) << err();
    EXPECT_NE(err().find(message + "Read-only file system"), std::string::npos) << err();
    EXPECT_EQ(err().find("making inputs"), std::string::npos) << err();
  };
  expect(call(kProgram, {"run", config.string(), "--output", empty}), "LOCK: cannot create: ");
  expect(call(kProgram, {"run", config.string(), "--output", empty + "/below"}),
         empty + "/below: cannot create the folder: ");
  expect(call("/bin/sh", {"-c", below, kProgram}), "results/test: cannot create the folder: ");
  expect(call(kProgram, {"run", "--resume", folder}), "LOCK: cannot create: ");
  expect(call(kProgram, {"report", folder}), "results.csv: cannot create: ");
}

// As a quota on a shared machine: the system would end the program without a word.
TEST_F(Disks, WhoseFilesMayNotGrowAreLikeFullOnes) {
  const fs::path config = write_config("[full, zero]", kQuick);
  Arguments limited = {"-c", "ulimit -f 40 && exec \"$@\"", "sh", kProgram};  // of 512 bytes
  for (const std::string& argument : run_of(config, {"--no-report"})) limited.push_back(argument);
  EXPECT_EQ(call("/bin/sh", limited), 74) << err();
  EXPECT_NE(err().find("journal.jsonl: cannot append a record"), std::string::npos) << err();
  EXPECT_NE(err().find("File too large"), std::string::npos) << err();
  EXPECT_TRUE(journal().ends_with("\n")) << "the torn record was not cut off";
  EXPECT_EQ(call(kProgram, resume()), 0) << err();
  EXPECT_EQ(results().at("full").round_seconds.size(), 2u);
}

TEST_F(Disks, ThatLostTheEndOfAJournalAreSpokenOfByWhoReadsIt) {
  const fs::path config = write_config("[full, zero]", kQuick);
  ASSERT_EQ(call(kProgram, run_of(config, {"--no-report"})), 0) << err();
  const fs::path file = folder_ / "results" / "journal.jsonl";
  fs::resize_file(file, fs::file_size(file) - 9);
  const std::string torn = journal();
  for (const Arguments& command :
       {Arguments{"report", results_folder()}, {"compare", results_folder(), results_folder()}}) {
    EXPECT_EQ(call(kProgram, command), 0) << err();
    EXPECT_NE(err().find("warning: " + file.string() + ": the last line is torn and left out"),
              std::string::npos)
        << err();
    EXPECT_EQ(journal(), torn) << "it was touched";
  }
}

// The working folder has been removed below the user's feet.
TEST_F(Disks, FromWhichTheWorkingFolderIsGoneAreAnError) {
  const std::string config = write_config("[zero]", kQuick).string();
  const std::string gone = (folder_ / "gone").string();
  const std::string there = "mkdir " + gone + " && cd " + gone + " && rmdir " + gone +
                            " && exec \"$0\" run " + config + " --output " + results_folder();
  EXPECT_EQ(call("/bin/sh", {"-c", there, kProgram}), 74) << err();
  EXPECT_NE(err().find("cannot get current path: No such file"), std::string::npos) << err();
}

}  // namespace
}  // namespace longattn

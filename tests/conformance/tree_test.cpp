#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "variants/registry.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;

struct Include {
  std::string file, target;
};

std::vector<Include> includes_of(const fs::path& file) {
  static const std::regex kInclude(R"re(^\s*#\s*include\s*["<]([^">]+)[">].*)re");
  std::vector<Include> includes;
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    std::smatch match;
    if (std::regex_match(line, match, kInclude)) includes.push_back({file.string(), match[1]});
  }
  return includes;
}

// Every include of every source below a folder.
std::vector<Include> includes_below(const fs::path& folder) {
  std::vector<Include> all;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const fs::path extension = entry.path().extension();
    if (extension != ".h" && extension != ".cpp") continue;
    const std::vector<Include> includes = includes_of(entry.path());
    all.insert(all.end(), includes.begin(), includes.end());
  }
  return all;
}

const fs::path kSource = LONGATTN_SOURCE_DIR;

// Includes of `folder` that reach a folder above it.
std::vector<std::string> against_the_arrow(const fs::path& folder,
                                           const std::vector<std::string>& above) {
  std::vector<std::string> wrong;
  for (const Include& include : includes_below(folder)) {
    for (const std::string& prefix : above) {
      if (include.target.starts_with(prefix)) wrong.push_back(include.file + ": " + include.target);
    }
  }
  return wrong;
}

TEST(Tree, ArrowsRunOneWay) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(against_the_arrow(kSource / "core", {"variants/", "experiments/", "tests/"}), Names{});
  EXPECT_EQ(against_the_arrow(kSource / "variants", {"experiments/", "tests/"}), Names{});
  EXPECT_EQ(against_the_arrow(kSource / "experiments", {"tests/"}), Names{});
  ASSERT_GT(includes_below(kSource / "core").size(), 50U) << "nothing was read";
}

TEST(Tree, ShowsAnArrowThatRunsBackwards) {
  const fs::path folder = fs::path(testing::TempDir()) / "backwards";
  fs::create_directories(folder);
  std::ofstream(folder / "wrong.h") << "#pragma once\n#  include \"experiments/cell.h\"  // why\n";
  EXPECT_EQ(against_the_arrow(folder, {"variants/", "experiments/"}).size(), 1U);
  fs::remove_all(folder);
}

TEST(Tree, EachThirdPartyOfASeamIsIncludedByOneFile) {
  const auto files_with = [](const char* folder, const std::string& prefix) {
    std::set<std::string> files;
    for (const Include& include : includes_below(kSource / folder)) {
      if (include.target.starts_with(prefix)) files.insert(include.file);
    }
    return files.size();
  };
  EXPECT_EQ(files_with("core", "tbb/"), 1U);
  EXPECT_EQ(files_with("variants", "tbb/"), 0U);
  EXPECT_EQ(files_with("experiments", "tbb/"), 0U);
  EXPECT_EQ(files_with("experiments", "yaml-cpp/"), 1U);
  EXPECT_EQ(files_with("variants", "mpi.h"), 1U);
  EXPECT_EQ(files_with("core", "mpi.h") + files_with("experiments", "mpi.h"), 0U);
}

TEST(Tree, EveryVariantFileIsInTheRegistryAndTheOtherWayRound) {
  std::set<std::string> files, rows;
  for (const auto& entry : fs::directory_iterator(kSource / "variants")) {
    const fs::path path = entry.path();
    if (path.extension() == ".cpp" && path.stem() != "registry") files.insert(path.stem().string());
  }
  // A variant too large for a pair of files is a folder with a file of its name.
  for (const auto& entry : fs::directory_iterator(kSource / "variants")) {
    if (!entry.is_directory()) continue;
    const std::string name = entry.path().filename().string();
    EXPECT_TRUE(fs::exists(entry.path() / (name + ".cpp"))) << name;
    files.insert(name);
  }
  for (const Variant* variant : builtin_variants()) rows.emplace(variant->name);
  EXPECT_EQ(files, rows);
  ASSERT_GT(rows.size(), 0U);
}

TEST(Tree, NoVariantIncludesAnother) {
  for (const auto& entry : fs::directory_iterator(kSource / "variants")) {
    const fs::path path = entry.path();
    if (path.stem() == "registry" || (path.extension() != ".cpp" && path.extension() != ".h")) {
      continue;
    }
    for (const Include& include : includes_of(path)) {
      if (!include.target.starts_with("variants/")) continue;
      EXPECT_EQ(include.target, "variants/" + path.stem().string() + ".h") << path;
    }
  }
}

}  // namespace
}  // namespace longattn

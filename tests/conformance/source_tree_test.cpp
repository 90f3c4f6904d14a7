#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "variants/registry.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;

// Path (relative to the root) and text.
using Sources = std::map<std::string, std::string>;

Sources read_rooms(const std::vector<std::string>& rooms) {
  const fs::path root(LONGATTN_SOURCE_DIR);
  Sources sources;
  for (const std::string& room : rooms) {
    for (const auto& entry : fs::recursive_directory_iterator(root / room)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cpp") continue;
      std::ifstream file(entry.path());
      std::stringstream text;
      text << file.rdbuf();
      sources[fs::relative(entry.path(), root).generic_string()] = text.str();
    }
  }
  return sources;
}

// What the #include lines name, without quotes or brackets.
std::vector<std::string> includes_of(const std::string& text) {
  std::vector<std::string> names;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t hash = line.find_first_not_of(" \t");
    if (hash == std::string::npos || line.compare(hash, 1, "#") != 0) continue;
    const size_t word = line.find("include", hash);
    const size_t open = line.find_first_of("\"<", hash);
    if (word == std::string::npos || open == std::string::npos) continue;
    const size_t close = line.find_first_of("\">", open + 1);
    names.push_back(line.substr(open + 1, close - open - 1));
  }
  return names;
}

std::string room_of(const std::string& path) { return path.substr(0, path.find('/')); }

// Lines "a includes b" that point up the arrows core <- variants <- experiments.
std::vector<std::string> wrong_arrows(const Sources& sources) {
  const std::map<std::string, std::set<std::string>> forbidden = {
      {"core", {"variants", "experiments", "tests"}},
      {"variants", {"experiments", "tests"}},
      {"experiments", {"tests"}}};
  std::vector<std::string> wrong;
  for (const auto& [path, text] : sources) {
    const auto rule = forbidden.find(room_of(path));
    if (rule == forbidden.end()) continue;
    for (const std::string& name : includes_of(text)) {
      if (rule->second.contains(room_of(name)) || name.starts_with("..")) {
        wrong.push_back(path + " includes " + name);
      }
    }
  }
  return wrong;
}

// Files with an #include of a header whose name starts so.
std::set<std::string> files_including(const Sources& sources, const std::string& prefix) {
  std::set<std::string> files;
  for (const auto& [path, text] : sources) {
    for (const std::string& name : includes_of(text)) {
      if (name.starts_with(prefix)) files.insert(path);
    }
  }
  return files;
}

// Names `x` of variants/x.cpp, the registry aside, that no row of the table has.
std::vector<std::string> orphans(const Sources& sources) {
  std::vector<std::string> found;
  for (const auto& [path, text] : sources) {
    const fs::path file(path);
    if (file.parent_path() != "variants" || file.extension() != ".cpp") continue;
    const std::string name = file.stem().string();
    if (name == "registry") continue;
    const Variant* variant = find_variant(builtin_variants(), name);
    const bool declares = text.find("const Variant k") != std::string::npos;
    if (variant == nullptr || !declares) found.push_back(name);
  }
  return found;
}

const std::vector<std::string> kRooms = {"core", "variants", "experiments"};

TEST(SourceTree, ArrowsRunFromExperimentsToVariantsToCore) {
  const Sources sources = read_rooms(kRooms);
  ASSERT_GT(sources.size(), 20u);
  EXPECT_EQ(wrong_arrows(sources), std::vector<std::string>());
}

TEST(SourceTree, AnArrowTheWrongWayIsFound) {
  EXPECT_EQ(wrong_arrows({{"core/x.h", "#pragma once\n  #  include \"variants/full.h\"\n"},
                          {"variants/y.cpp", "#include \"core/x.h\"\n#include <vector>\n"},
                          {"variants/z.cpp", "#include \"../experiments/cell.h\"\n"}}),
            (std::vector<std::string>{"core/x.h includes variants/full.h",
                                      "variants/z.cpp includes ../experiments/cell.h"}));
}

TEST(SourceTree, IncludesTbbInOneFileAndYamlCppInOneFile) {
  Sources sources = read_rooms(kRooms);
  EXPECT_EQ(files_including(sources, "tbb/"), std::set<std::string>{"core/parallel.cpp"});
  EXPECT_EQ(files_including(sources, "oneapi/"), std::set<std::string>());
  const auto yaml = files_including(sources, "yaml-cpp/");
  EXPECT_LE(yaml.size(), 1u);
  for (const std::string& file : yaml) EXPECT_TRUE(file.starts_with("experiments/config/")) << file;
  sources["core/second.cpp"] = "#include <tbb/parallel_for.h>\n";
  EXPECT_EQ(files_including(sources, "tbb/").size(), 2u);
}

TEST(SourceTree, RegistersEveryVariantUnderTheNameOfItsFile) {
  Sources sources = read_rooms({"variants"});
  EXPECT_EQ(orphans(sources), std::vector<std::string>());
  for (const Variant* variant : builtin_variants()) {
    const std::string stem = "variants/" + std::string(variant->name);
    EXPECT_TRUE(sources.contains(stem + ".cpp") ||
                sources.contains(stem + "/" + std::string(variant->name) + ".cpp"))
        << variant->name;
  }
  sources["variants/forgotten.cpp"] = "const Variant kForgotten = {\n";
  EXPECT_EQ(orphans(sources), std::vector<std::string>{"forgotten"});
}

}  // namespace
}  // namespace longattn

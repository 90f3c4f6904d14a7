// What a locale with decimal commas does to the tool: nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "tests/experiments/run_testing.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;

class German : public RunTest {
 protected:
  // Decimal commas and grouped thousands in the C++ locale, and in that of C where the language can
  // be made.
  Environment german() {
    const std::string folder = (folder_ / "locales").string();
    fs::create_directory(folder);
    const std::string make = "localedef -i de_DE -f UTF-8 " + folder + "/de_DE.UTF-8";
    call("/bin/sh", {"-c", make});
    return {{"LONGATTN_TEST_GERMAN", "1"},
            {"LOCPATH", folder},
            {"LANG", "de_DE.UTF-8"},
            {"LC_ALL", "de_DE.UTF-8"}};
  }

  // Every file but the journal; a PDF has its date in it.
  std::string files_of_the_report() const {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(results_folder())) {
      const std::string name = entry.path().filename().string();
      if (!entry.is_regular_file() || name == "journal.jsonl" || name == "LOCK") continue;
      if (entry.path().extension() != ".pdf") files[name] = slurp(entry.path());
    }
    std::string all;
    for (const auto& [name, text] : files) all += name + ":\n" + text;
    return all;
  }

  // What the journal says of each cell before it is measured, to the byte.
  std::string planned_in_the_journal() const {
    std::istringstream lines(journal());
    std::string cells;
    for (std::string line; std::getline(lines, line);) {
      if (line.find(R"("kind":"cell")") != std::string::npos) cells += line + "\n";
    }
    EXPECT_EQ(std::ranges::count(cells, '\n'), 4);
    return cells;
  }

  // What does not change with the speed of the machine of what `plan` prints: the columns of
  // length, FLOP and pairs, and the cells without predicted times.
  std::string planned(const Environment& environment, const fs::path& config) {
    std::string text;
    EXPECT_EQ(call(kFaulty, {"plan", config.string()}, environment), 0) << err();
    std::istringstream lines(out());
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("   ")) text += line.substr(0, 34) + "\n";
    }
    EXPECT_EQ(call(kFaulty, {"plan", config.string(), "--json"}, environment), 0) << err();
    auto cells = nlohmann::json::parse(out()).at("cells");
    for (auto& cell : cells) cell.erase("predicted_s");
    EXPECT_EQ(cells.size(), 4u);
    return text + cells.dump();
  }
};

TEST_F(German, ChangesNoByteOfAnyOutput) {
  const fs::path config = write_config(
      "[full, {longformer: {window: 3}}]",
      "measure: {rounds: 2, min_time: 1.5ms, error_rows: 16}\nlimits: {memory: 1.5GiB}",
      "[1024, 2048]");
  const Environment language = german();
  EXPECT_EQ(call(kFaulty, run_of(config), language), 0) << err();
  const auto everything = [&](const Environment& environment) {
    std::string all;
    for (const Arguments& command :
         {Arguments{"describe", "longformer"}, Arguments{"report", results_folder()},
          Arguments{"report", results_folder(), "--format", "json"}}) {
      EXPECT_EQ(call(kFaulty, command, environment), 0) << err();
      all += out() + err();
    }
    return all + planned(environment, config) + files_of_the_report();
  };
  const std::string plain = everything({}), foreign = everything(language);
  EXPECT_TRUE(plain == foreign)
      << "they part at byte "
      << std::mismatch(plain.begin(), plain.end(), foreign.begin(), foreign.end()).first -
             plain.begin();
  for (const char* name : {"results.csv", "results.jsonl", "results.md", "results.tex",
                           "samples.csv", "scaling.csv", "report.html", ".svg", ".tsv", ".gp"}) {
    EXPECT_NE(plain.find(std::string(name) + ":\n"), std::string::npos) << name;
  }
  // And what it measured and wrote down is what anybody does.
  const std::string found = findings_of(results_folder()), cells = planned_in_the_journal();
  EXPECT_FALSE(std::regex_search(err() + journal(), std::regex("[0-9],[0-9]+ (s|ms|%)")));
  fs::remove_all(results_folder());
  EXPECT_EQ(call(kFaulty, run_of(config, {"--no-report"})), 0) << err();
  EXPECT_EQ(found, findings_of(results_folder()));
  EXPECT_EQ(cells, planned_in_the_journal());
}

}  // namespace
}  // namespace longattn

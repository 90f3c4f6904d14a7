#include "experiments/journal.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <vector>

#include "core/error.h"
#include "core/io/file.h"
#include "experiments/report/csv.h"
#include "experiments/report/html.h"
#include "experiments/report/tables.h"
#include "experiments/results.h"
#include "experiments/serialize.h"
#include "tests/core/reader_testing.h"
#include "tests/experiments/report_fixture.h"
#include "tests/fuzz/readers.h"
#include "tests/temporary_folder.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;

class JournalFile : public ::testing::Test {
 protected:
  JournalFile() {
    path_ = folder_ / "journal.jsonl";
    Journal journal = Journal::create(path_, {});
    for (int n = 0; n < 3; ++n) journal.append({{"kind", "time"}, {"n", n}});
    std::ifstream file(path_);
    std::stringstream stream;
    stream << file.rdbuf();
    text_ = stream.str();
  }

  void rewrite(const std::string& text) { std::ofstream(path_, std::ios::binary) << text; }
  bool read() {
    seen_.clear();
    return read_journal(path_, [&](const nlohmann::json& record) { seen_.push_back(record["n"]); });
  }

  const TemporaryFolder folder_;
  std::string path_, text_;
  std::vector<int> seen_;
};

TEST_F(JournalFile, ComesBackAsItWasWritten) {
  EXPECT_TRUE(read());
  EXPECT_EQ(seen_, (std::vector<int>{0, 1, 2}));
}

TEST_F(JournalFile, ForgivesATornLastLineAlone) {
  const size_t last = text_.rfind("{\"kind\"", text_.size() - 2);
  for (size_t size = last + 1; size < text_.size(); ++size) {
    rewrite(text_.substr(0, size));
    EXPECT_FALSE(read());
    EXPECT_EQ(seen_, (std::vector<int>{0, 1}));
  }
}

TEST_F(JournalFile, FindsEveryFlippedBitAndNamesItsLineAndOffset) {
  for (size_t at = 0; at < text_.size(); ++at) {
    const auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<long>(at), '\n');
    const size_t before = at == 0 ? std::string::npos : text_.rfind('\n', at - 1);
    const size_t begin = before == std::string::npos ? 0 : before + 1;
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = text_;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      rewrite(damaged);
      if (at + 1 == text_.size()) {  // without its end the last line is a torn one
        EXPECT_FALSE(read());
        EXPECT_EQ(seen_, (std::vector<int>{0, 1}));
        continue;
      }
      const std::string message = data_error([&] { read(); });
      EXPECT_NE(message.find(":" + std::to_string(line) + ": damaged record: "), std::string::npos)
          << "bit " << bit << " of byte " << at << ": " << message;
      EXPECT_NE(message.find(" at offset " + std::to_string(begin) + ")"), std::string::npos)
          << "bit " << bit << " of byte " << at << ": " << message;
    }
  }
}

TEST_F(JournalFile, RefusesAnotherSchema) {
  rewrite(journal_line({{"kind", "header"}, {"schema_version", 2}}));
  EXPECT_THROW(read(), DataError);
  rewrite(journal_line({{"kind", "time"}, {"n", 1}}));
  EXPECT_THROW(read(), DataError);
  rewrite("");
  EXPECT_THROW(read(), DataError);
}

TEST_F(JournalFile, IsNeverOverwritten) {
  EXPECT_THROW(Journal::create(path_, {}), CreateError);
  EXPECT_EQ(read_text(path_, 1 << 20), text_);
}

TEST_F(JournalFile, AppearsWithItsHeadOrNotAtAll) {
  const std::string path = folder_ / "another.jsonl";
  const Journal journal = Journal::create(path, {{{"kind", "run"}}, {{"kind", "cell"}}});
  std::vector<std::string> kinds;
  read_journal(path, [&](const nlohmann::json& record) { kinds.push_back(record["kind"]); });
  EXPECT_EQ(kinds, (std::vector<std::string>{"run", "cell"}));
  EXPECT_THROW(Journal::create(folder_ / "missing/journal.jsonl", {}), CreateError);
}

TEST_F(JournalFile, GoesOnBehindItsLastWholeRecord) {
  for (size_t torn : {size_t{0}, size_t{1}, size_t{20}}) {
    rewrite(text_.substr(0, text_.size() - torn));
    {
      Journal journal = Journal::resume(path_);
      EXPECT_EQ(journal.was_torn(), torn > 0);
      journal.append({{"kind", "time"}, {"n", 7}});
    }
    EXPECT_TRUE(read());
    EXPECT_EQ(seen_, torn > 0 ? (std::vector<int>{0, 1, 7}) : (std::vector<int>{0, 1, 2, 7}));
  }
}

// What else may come of a file: none is forgiven, and going on leaves it as it is.
TEST_F(JournalFile, DamagedIsRefusedWithItsLineAndLeftAlone) {
  const size_t second = text_.find('\n') + 1, third = text_.find('\n', second) + 1;
  const auto inserted = [&](size_t at, std::string_view what) {
    return std::string(text_).insert(at, what);
  };
  std::string crlf = text_;
  for (size_t at = 0; (at = crlf.find('\n', at)) != std::string::npos; at += 2) {
    crlf.replace(at, 1, "\r\n");
  }
  const std::map<std::string, std::pair<std::string, int>> damages = {
      {"line ends of another system", {crlf, 1}},
      {"byte order mark", {inserted(0, "\xef\xbb\xbf"), 1}},
      {"block of zeros", {inserted(third, std::string(512, '\0')), 3}},
      {"empty line", {inserted(third, "\n"), 3}},
      {"torn in the middle", {std::string(text_).erase(third - 9, 8), 2}},
      {"two records run together", {std::string(text_).erase(third - 1, 1), 2}},
      {"text of somebody else", {inserted(third, "hello\n"), 3}}};
  for (const auto& [name, damage] : damages) {
    rewrite(damage.first);
    for (const auto& open :
         {std::function([&] { read(); }), std::function([&] { Journal::resume(path_); })}) {
      try {
        open();
        ADD_FAILURE() << name << ": nobody noticed";
      } catch (const DataError& error) {
        EXPECT_NE(std::string(error.what()).find(":" + std::to_string(damage.second) + ":"),
                  std::string::npos)
            << name << ": " << error.what();
      }
      EXPECT_EQ(read_text(path_, 1 << 20), damage.first) << name;
    }
  }
}

class JournalMutations : public ::testing::Test {
 protected:
  JournalMutations() {
    mutations_.path = folder_ / "journal.jsonl";
    mutations_.tokens = {"{",
                         "}",
                         "[",
                         "]",
                         ",",
                         ":",
                         "\"",
                         "\\u0000",
                         "\xff",
                         "\n",
                         "0",
                         "-1",
                         "1.5",
                         "1e308",
                         "9223372036854775807",
                         "18446744073709551615",
                         "null",
                         "true",
                         "inf",
                         "nan",
                         "kind",
                         "time",
                         "end",
                         "crc",
                         "\x1b[0m"};
    mutations_.rounds = 2'000;
    mutations_.bounded = false;  // JSON in memory is larger than its text
    mutations_.check = [&](const Error& error) {
      EXPECT_EQ(objection_to_data_error(error, mutations_.path + ":"), "");
    };
  }
  void report() const { take_run_folder(folder_.path()); }
  TemporaryFolder folder_;
  Mutations mutations_;
};

std::string sealed(const std::vector<std::string>& records) {
  std::string text;
  for (const std::string& record : records) text += journal_line(nlohmann::json::parse(record));
  return text;
}

// A run as it is written: header, run, cells, what was measured, end.
std::vector<std::string> records() {
  RunResults results = testing::realistic_results();
  std::vector<std::string> lines = {R"({"kind":"header","schema_version":1})"};
  lines.push_back(nlohmann::json{{"kind", "run"},
                                 {"experiment", results.experiment},
                                 {"command", results.command},
                                 {"config", "a\nb"},
                                 {"provenance", nlohmann::json::parse(R"([["compiler","g++"]])")}}
                      .dump());
  const std::vector<CellResult> cells = {results.cells[3], results.cells[23], results.cells[27]};
  for (const CellResult& cell : cells) {
    const nlohmann::json planned = {{"status", "ok"}, {"growth_time", 1}};
    lines.push_back(
        nlohmann::json{{"kind", "cell"}, {"cell", to_json(cell.cell)}, {"planned", planned}}
            .dump());
  }
  for (const CellResult& cell : cells) {
    lines.push_back(nlohmann::json{
        {"kind", "error"}, {"id", cell.cell.id}, {"result", measurements_to_json(cell)}}
                        .dump());
  }
  InputResult input;
  input.cell_id = cells[0].cell.id;
  input.planted_mass = Estimate{0.5, 0.4, 0.6};
  input.asked = 0.5;
  lines.push_back(nlohmann::json{{"kind", "input"}, {"input", to_json(input)}}.dump());
  const nlohmann::json picture = {{"rows", 2}, {"columns", 2}, {"mass", {1.0, 0.0, 0.5, 0.5}}};
  lines.push_back(
      nlohmann::json{{"kind", "pattern"}, {"id", cells[0].cell.id}, {"pattern", picture}}.dump());
  lines.push_back(R"({"kind":"end","status":"complete"})");
  return lines;
}

// Such a number has no integer that it could be cut down to: undefined in C++.
TEST_F(JournalMutations, NumbersThatAreNoIntegersAreRefused) {
  for (const double number : {2.2e53, 4.0}) {
    std::vector<std::string> lines = records();
    nlohmann::json cell = nlohmann::json::parse(lines[2]);
    cell["cell"]["problem"]["query_len"] = number;
    lines[2] = cell.dump();
    write_quickly(mutations_.path, sealed(lines));
    const std::string message = data_error([&] { report(); });
    EXPECT_NE(message.find(":3: expected an integer, found "), std::string::npos) << message;
  }
}

TEST_F(JournalMutations, StartFromAJournalThatIsReported) {
  write_quickly(mutations_.path, sealed(records()));
  report();
  EXPECT_EQ(results_from_folder(folder_.path()).cells.size(), 3u);
}

TEST_F(JournalMutations, OfTheFileAreReportedOrRefusedAndNothingElse) {
  mutations_.seeds = {sealed(records()), sealed({records()[0], records()[1]})};
  const MutationCounts counts = read_mutations(mutations_, [&](const std::string&) { report(); });
  EXPECT_GT(counts.read, 0) << "a torn last line is forgiven";
  EXPECT_GT(counts.refused, 0);
}

// Damage before the checksum is made: what a hand or another program wrote. Each mutant takes the
// place of the first record of its kind.
TEST_F(JournalMutations, WithGoodChecksumsAreReportedOrRefusedAndNothingElse) {
  std::map<std::string, size_t> first;
  const std::vector<std::string> good = records();
  for (size_t n = 0; n < good.size(); ++n) {
    const std::string kind = nlohmann::json::parse(good[n])["kind"];
    if (first.emplace(kind, n).second) mutations_.seeds.push_back(good[n]);
  }
  const MutationCounts counts = read_mutations(mutations_, [&](const std::string& path) {
    const auto mutant = nlohmann::json::parse(read_text(path, 1 << 20), nullptr, false);
    if (!mutant.is_object()) throw DataError(path + ": not JSON any more");
    const auto kind = mutant.find("kind");
    const auto place = first.find(kind != mutant.end() && kind->is_string() ? *kind : "");
    std::vector<std::string> lines = good;
    lines[place == first.end() ? good.size() - 1 : place->second] = mutant.dump();
    write_quickly(path, sealed(lines));
    report();
  });
  EXPECT_GT(counts.read, 0);
  EXPECT_GT(counts.refused, 0);
}

}  // namespace
}  // namespace longattn

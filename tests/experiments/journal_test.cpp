#include "experiments/journal.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "core/error.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;

class JournalFile : public testing::Test {
 protected:
  JournalFile() {
    std::string pattern = (fs::temp_directory_path() / "longattn-journal-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    path_ = (folder_ / "journal.jsonl").string();
    Journal journal(path_);
    for (int n = 0; n < 3; ++n) journal.append({{"kind", "time"}, {"n", n}});
    std::ifstream file(path_);
    std::stringstream stream;
    stream << file.rdbuf();
    text_ = stream.str();
  }
  ~JournalFile() override { fs::remove_all(folder_); }

  void rewrite(const std::string& text) { std::ofstream(path_, std::ios::binary) << text; }
  bool read() {
    seen_.clear();
    return read_journal(path_, [&](const nlohmann::json& record) { seen_.push_back(record["n"]); });
  }

  fs::path folder_;
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

TEST_F(JournalFile, FindsEveryFlippedByteAndNamesItsLine) {
  for (size_t at = 0; at < text_.size(); ++at) {
    if (text_[at] == '\n') continue;
    std::string damaged = text_;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    if (damaged[at] == '\n') continue;
    rewrite(damaged);
    try {
      read();
      FAIL() << "byte " << at << " flipped and nobody noticed";
    } catch (const DataError& error) {
      const auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<long>(at), '\n');
      EXPECT_NE(std::string(error.what()).find(":" + std::to_string(line) + ":"), std::string::npos)
          << error.what();
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

TEST_F(JournalFile, IsNeverOverwritten) { EXPECT_THROW(Journal again(path_), CreateError); }

// Random damage of any kind: a clear error or a shorter journal, never a crash.
TEST_F(JournalFile, SurvivesMutation) {
  const char* wanted = std::getenv("LONGATTN_MUTATIONS");
  const int mutations = wanted != nullptr ? std::atoi(wanted) : 2000;
  std::uint64_t state = 7;
  const auto draw = [&](size_t bound) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>(state >> 33) % bound;
  };
  for (int n = 0; n < mutations; ++n) {
    std::string damaged = text_;
    for (size_t k = 0; k <= draw(3); ++k) {
      const size_t at = draw(damaged.size());
      switch (draw(3)) {
        case 0:
          damaged[at] = static_cast<char>(draw(256));
          break;
        case 1:
          damaged.erase(at, 1 + draw(20));
          break;
        default:
          damaged.insert(at, 1 + draw(5), static_cast<char>(draw(256)));
      }
      if (damaged.empty()) break;
    }
    rewrite(damaged);
    try {
      read();
      EXPECT_LE(seen_.size(), 3u);
    } catch (const DataError&) {
    }
  }
}

}  // namespace
}  // namespace longattn

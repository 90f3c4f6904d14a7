// One real report in headless Chromium, at the width of a desk and of a phone.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "experiments/report/report.h"
#include "tests/experiments/report_fixture.h"
#include "tests/temporary_folder.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string slurp(const fs::path& path) { return read_text(path.string(), Index{1} << 28); }

int shell(const std::string& command) {
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

using CsvRow = std::map<std::string, std::string>;

// Rows by cell_id. None of the test's own texts has a quote or a line end.
std::map<std::string, CsvRow> parse_csv(const std::string& text) {
  const auto fields = [](const std::string& line) {
    std::vector<std::string> result = {""};
    bool quoted = false;
    for (const char c : line) {
      if (c == '"') quoted = !quoted;
      if (c == ',' && !quoted) result.emplace_back();
      if (c != '"' && c != '\r' && (c != ',' || quoted)) result.back() += c;
    }
    return result;
  };
  std::stringstream lines(text);
  std::string line;
  std::getline(lines, line);
  const std::vector<std::string> names = fields(line);
  std::map<std::string, CsvRow> rows;
  while (std::getline(lines, line)) {
    const std::vector<std::string> values = fields(line);
    CsvRow row;
    for (size_t n = 0; n < names.size(); ++n) row[names[n]] = values.at(n);
    rows[row["cell_id"]] = row;
  }
  return rows;
}

// The number that a person reads, in seconds, bytes or as a share: "80.7 ms ±35%" is 0.0807.
double shown_number(const std::string& text) {
  static const std::vector<std::pair<std::string, double>> kUnits = {
      {"µs", 1e-6},  {"ms", 1e-3},         {"s", 1},
      {"KiB", 1024}, {"MiB", 1024 * 1024}, {"GiB", 1024. * 1024 * 1024},
      {"B", 1},      {"%", 0.01}};
  std::string digits = text.substr(0, text.find("±"));
  std::erase(digits, ',');
  char* end = nullptr;
  const double number = std::strtod(digits.c_str(), &end);
  for (const auto& [unit, factor] : kUnits) {
    if (std::string_view(end).find(unit) != std::string_view::npos) return number * factor;
  }
  return number;
}

class Browser : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    run_ = std::make_unique<TemporaryFolder>();
    const std::string config = run_->file("config.yaml", R"(longattn: 1
name: browser
threads: 1
inputs: [{gaussian: {temperature: 2}}, {label: flat, gaussian: {temperature: 0.5}}]
problem: {lengths: [64, 128], num_heads: 2, head_dim: 16, causal: true}
variants: [full, blockwise, {longformer: {sweep: {window: [4, 16]}}}, bigbird, mean_value, zero, crashes]
measure: {rounds: 3, min_time: 1ms, error_rows: 64}
)");
    ASSERT_EQ(shell(fmt::format("{} run {} --output {} >{} 2>&1", LONGATTN_FAULTY_PROGRAM, config,
                                *run_ / "results", *run_ / "log")),
              1)  // one variant crashes, and has its rows
        << slurp(*run_ / "log");
  }
  static void TearDownTestSuite() { run_.reset(); }

  std::string page() const { return slurp(*run_ / "results/report.html"); }

  // Everything that is wrong with the page, in sentences.
  std::vector<std::string> faults(const std::string& content, bool dark = false) {
    folder_.file("report.html", content);
    folder_.file("probe.html", slurp(LONGATTN_SOURCE_DIR "/tests/experiments/browser_probe.html"));
    const std::string profile = folder_ / "profile";
    fs::remove_all(profile);
    fs::create_directory(profile);
    const int code = shell(fmt::format(
        "cd {} && for name in chromium google-chrome chromium-browser; do "
        "browser=$(command -v $name) && break; done; timeout 100 \"${{browser:-chromium}}\" "
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
        "--disable-background-networking --disable-component-update --disable-sync "
        "--allow-file-access-from-files --blink-settings=preferredColorScheme={} "
        "--user-data-dir={} --enable-logging=stderr --dump-dom "
        "file://{}/probe.html >dom 2>errors </dev/null",
        folder_.path(), dark ? 0 : 1, profile, folder_.path()));
    const std::string errors = slurp(folder_ / "errors");
    const std::string dom = slurp(folder_ / "dom");
    const size_t begin = dom.find("<pre id=\"found\">");
    if (code != 0 || begin == std::string::npos) {
      ADD_FAILURE() << "chromium ended with " << code << ":\n" << errors << dom;
      return {"no answer"};
    }
    const size_t end = dom.find("</pre>", begin);
    const auto found = nlohmann::json::parse(dom.substr(begin + 16, end - begin - 16));
    std::vector<std::string> all;
    std::stringstream lines(errors);
    for (std::string line; std::getline(lines, line);) {
      if (line.find("CONSOLE") != std::string::npos) all.push_back("console: " + line);
    }
    for (const auto& view : found) find_faults(view, all);
    return all;
  }

  void find_faults(const nlohmann::json& view, std::vector<std::string>& all) {
    const auto say = [&](const std::string& text) {
      all.push_back(fmt::format("at {} pixels: {}", view["width"].get<int>(), text));
    };
    EXPECT_EQ(view["inner_width"], view["width"]);
    if (view["scroll_width"] > view["client_width"]) {
      say(fmt::format("content is {} wide", view["scroll_width"].dump()));
    }
    if (view["pictures"] != pictures_) say(view["pictures"].dump() + " pictures");
    if (view["not_drawn"] != 0) say(view["not_drawn"].dump() + " pictures are not drawn");
    if (view["faint"] != 0) say(view["faint"].dump() + " texts can hardly be read");
    if (view["cut"] != 0) say(view["cut"].dump() + " texts are cut off");
    if (!view["sort_faults"].empty()) say("sorting: " + view["sort_faults"].dump());
    if (view["csv"] != (whole_ ? csv_ : "")) say("the CSV to download is not results.csv");
    const auto rows = parse_csv(csv_);
    std::set<std::string> shown;
    for (const auto& row : view["rows"]) {
      const auto expected = rows.find(row["cell"]);
      shown.insert(row["cell"]);
      if (expected == rows.end()) {
        say("a row that results.csv has not: " + row.dump());
      } else {
        compare(row["fields"], expected->second, rows, say);
      }
    }
    if (whole_ && shown.size() != rows.size()) say(fmt::format("{} cells", shown.size()));
    if (!whole_) {
      const std::string says = fmt::format("This page shows {} of 5,000 rows", shown.size());
      if (!view["part"].get<std::string>().starts_with(says)) say("it does not say: " + says);
    }
  }

  template <class Say>
  void compare(const nlohmann::json& shown, const CsvRow& row,
               const std::map<std::string, CsvRow>& rows, const Say& say) {
    static const std::map<std::string, std::string> kColumns = {
        {"length", "key_len"},
        {"time", "time_median_s"},
        {"workspace", "workspace_bytes"},
        {"heap peak", "heap_peak_bytes"},
        {"rel. error", "relative_error"},
        {"floor", "relative_error_floor"},
        {"worst row", "row_error_worst"},
        {"mass", "captured_mass"},
        {"impl. ratio", "implementation_ratio"},
        {"mean of V", "mean_value_error"},
        {"oracle", "oracle_error"},
        {"contrast", "value_contrast"},
        {"TV", "total_variation"},
        {"KL", "kl_divergence"},
        {"recall", "top_recall"},
        {"uncovered", "uncovered_rows"},
        {"median row", "row_error_median"},
        {"pinned", "row_error_pinned"},
        {"seeds", "seeds"},
        {"mean", "seed_error_mean"},
        {"worst", "seed_error_worst"},
        {"bias", "seed_bias"},
        {"spread", "seed_spread"}};
    for (const auto& [head, field] : shown.items()) {
      const std::string text = field["text"];
      if (head == "variant" || head == "status") {
        if (!text.starts_with(row.at(head))) say(head + " is " + text);
        continue;
      }
      const std::string value = field["value"];
      std::string expected;
      if (head == "vs full") {
        for (const auto& [id, other] : rows) {
          const bool alike = other.at("variant") == "full" &&
                             other.at("input") == row.at("input") &&
                             other.at("key_len") == row.at("key_len");
          if (!alike || row.at("time_median_s").empty()) continue;
          expected = fmt::format(
              "{}", std::stod(other.at("time_median_s")) / std::stod(row.at("time_median_s")));
        }
      } else if (head == "regret") {
        if (!row.at("oracle_error").empty()) {
          expected = fmt::format(
              "{}", std::stod(row.at("relative_error")) - std::stod(row.at("oracle_error")));
        }
      } else {
        expected = row.at(kColumns.at(head));
      }
      const std::string where =
          fmt::format("{} of {} at {}", head, row.at("variant"), row.at("key_len"));
      if (value.empty() != expected.empty() ||
          (!value.empty() && std::stod(value) != std::stod(expected))) {
        say(fmt::format("{} is {}, results.csv has {}", where, value, expected));
      } else if (value.empty() ? text != "–"
                               : std::abs(shown_number(text) - std::stod(value)) >
                                     0.06 * std::abs(std::stod(value))) {
        say(fmt::format("{} reads {}, results.csv has {}", where, text, expected));
      }
    }
  }

  static std::unique_ptr<TemporaryFolder> run_;
  TemporaryFolder folder_;
  std::string csv_ = slurp(*run_ / "results/results.csv");
  bool whole_ = true;  // the page shows all rows of it
  // Two inputs with seven plots and seven patterns (of the crashing variant: none) each.
  int pictures_ = 2 * (7 + 7);
};
std::unique_ptr<TemporaryFolder> Browser::run_;

TEST_F(Browser, ShowsTheReportWholeAndTrueAtBothWidths) { EXPECT_THAT(faults(page()), IsEmpty()); }

TEST_F(Browser, ShowsItInTheDarkToo) { EXPECT_THAT(faults(page(), true), IsEmpty()); }

TEST_F(Browser, ShowsAPartOfFiveThousandRowsAndEveryNumberOfItTrue) {
  const TemporaryFolder folder;
  write_report(testing::many_results(1, 1000, 5), folder.path());
  csv_ = slurp(folder / "results.csv");
  whole_ = false;
  pictures_ = 7 + 24;  // plots, and a pattern of each setting
  EXPECT_THAT(faults(slurp(folder / "report.html")), IsEmpty());
}

// Each fault that the test is for, made on purpose.
TEST_F(Browser, FindsEachFaultOfABrokenPage) {
  const auto with = [&](const std::string& what, const std::string& instead) {
    std::string text = page();
    const size_t at = text.find(what);
    EXPECT_NE(at, std::string::npos) << what;
    return text.replace(at, what.size(), instead);
  };
  EXPECT_THAT(faults(with("</main>", "<p style=\"width: 600px\">wide</p></main>")),
              ElementsAre("at 390 pixels: content is 616 wide"));
  EXPECT_THAT(faults(with("</main>", "<script>alert(1)</script></main>")),
              ElementsAre(HasSubstr("console: "), HasSubstr("console: ")));
  EXPECT_THAT(faults(with("<svg ",
                          "<img alt=\"lost\" width=\"50\" height=\"50\" "
                          "src=\"data:image/png;base64,AAAA\"><svg hidden ")),
              Contains(HasSubstr("at 390 pixels: 1 pictures are not drawn")));
  EXPECT_THAT(faults(with("</style>", "figure svg text { fill: #222; }</style>"), true),
              Contains(HasSubstr("texts can hardly be read")));
  EXPECT_THAT(faults(with("</main>",
                          "<svg class=\"swatch\" viewBox=\"0 0 50 50\" width=\"50\">"
                          "<text x=\"40\" y=\"20\">too long</text></svg></main>")),
              Contains("at 390 pixels: 1 texts are cut off"));
  EXPECT_THAT(faults(with("down ? -order : order", "order")),
              Contains(HasSubstr("sorting: [\"no button")))
      << "another script than the policy names does not run";
  EXPECT_THAT(faults(with("title=\"64\">64<", "title=\"64\">46<")),
              Contains(HasSubstr("reads 46, results.csv has 64")));
  EXPECT_THAT(faults(with("<td title=\"64\"", "<td title=\"65\"")),
              Contains(HasSubstr("is 65, results.csv has 64")));
}

}  // namespace
}  // namespace longattn

#include "experiments/report/report.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <clocale>
#include <filesystem>
#include <fstream>
#include <limits>
#include <locale>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "experiments/report/csv.h"
#include "experiments/report/findings.h"
#include "experiments/report/gnuplot.h"
#include "experiments/report/layout.h"
#include "experiments/report/paper_tables.h"
#include "experiments/report/tables.h"
#include "experiments/report/tags.h"
#include "experiments/report/text.h"
#include "experiments/serialize.h"
#include "tests/experiments/parse_csv.h"
#include "tests/experiments/report_fixture.h"
#include "tests/temporary_folder.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string slurp(const fs::path& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// Every file that a report consists of, by its path in the folder.
std::map<std::string, std::string> files_of(const RunResults& results) {
  const TemporaryFolder folder;
  write_report(results, folder.path());
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder.path())) {
    if (!entry.is_regular_file()) continue;
    files[fs::relative(entry.path(), folder.path()).string()] = slurp(entry.path());
  }
  return files;
}

TEST(Report, KeepsHostileTextInItsPlaceInEveryFile) {
  const RunResults results = testing::hostile_results();
  const auto files = files_of(results);
  const std::string& page = files.at("report.html");
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(1)"));
  EXPECT_THAT(page, Not(HasSubstr("<script>alert(1)")));
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  for (const auto& [name, text] : files) {
    EXPECT_TRUE(std::regex_match(
        name,
        std::regex(
            "report\\.html|results\\.(csv|jsonl|md|tex)|(samples|scaling|heads)\\.csv|"
            "plots/"
            "(time|workspace|pareto|error|error-(length|budget|heads))-[12]\\.(svg|pdf|gp|tsv)")))
        << name;
    if (name.ends_with(".pdf") || name.ends_with(".csv")) continue;  // binary; bytes as they are
    EXPECT_EQ(text.find('\x1b'), std::string::npos) << name;
    if (name.ends_with(".gp")) {
      EXPECT_THAT(text, Not(HasSubstr("touch"))) << name;
      EXPECT_THAT(text, Not(HasSubstr("alert"))) << name;
    }
    if (name.ends_with(".svg")) EXPECT_THAT(text, Not(HasSubstr("<script"))) << name;
  }
  EXPECT_EQ(terminal_table(results).find('\x1b'), std::string::npos);
}

TEST(Report, GivesBackEveryTextFromTheCsvAndTheJson) {
  const RunResults results = testing::hostile_results();
  const ResultTable table = result_table(results);
  const auto rows = parse_csv(to_csv(table));
  ASSERT_EQ(rows.size(), results.cells.size() + 1);
  EXPECT_EQ(rows[0], table.columns);
  std::stringstream lines(to_json_lines(table));
  for (size_t n = 0; n < table.rows.size(); ++n) {
    std::string line;
    ASSERT_TRUE(std::getline(lines, line));
    const json object = json::parse(line);
    for (size_t k = 0; k < table.columns.size(); ++k) {
      const auto* text = std::get_if<std::string>(&table.rows[n][k]);
      if (text == nullptr) continue;
      EXPECT_EQ(rows[n + 1][k], *text);
      const bool utf8 = (table.columns[k] + *text).find('\xff') == std::string::npos;
      if (utf8) EXPECT_EQ(object[table.columns[k]], *text);
    }
  }
}

TEST(Report, WritesTheNumbersInFullWhateverTheLocale) {
  RunResults results = testing::realistic_results();
  results.cells[0].time_s = Estimate{0.1, 1e-300, 12345.678901234567};
  results.cells[0].implementation_ratio = std::numeric_limits<double>::infinity();
  results.cells[1].implementation_ratio = std::nan("");
  const ResultTable table = result_table(results);
  std::stringstream lines(to_json_lines(table));
  std::string line;
  std::getline(lines, line);
  const json first = json::parse(line);
  EXPECT_EQ(first["time_median_s"], 0.1);
  EXPECT_EQ(first["time_low_s"], 1e-300);
  EXPECT_EQ(first["time_high_s"], 12345.678901234567);
  EXPECT_TRUE(first["implementation_ratio"].is_null());
  EXPECT_EQ(first["not_finite"], json({{"implementation_ratio", "inf"}}));
  EXPECT_TRUE(first["workspace_bytes"].is_number_integer());
  std::getline(lines, line);
  EXPECT_EQ(json::parse(line)["not_finite"], json({{"implementation_ratio", "nan"}}));
  EXPECT_THAT(line, Not(HasSubstr(":nan")));
  std::getline(lines, line);
  EXPECT_FALSE(json::parse(line).contains("not_finite"));

  struct Comma : std::numpunct<char> {
    char do_decimal_point() const override { return ','; }
    char do_thousands_sep() const override { return '.'; }
    std::string do_grouping() const override { return "\3"; }
  };
  const auto before = files_of(results);
  const std::locale old = std::locale::global(std::locale(std::locale(), new Comma));
  const auto after = files_of(results);
  const std::string printed = terminal_table(results);
  std::locale::global(old);
  EXPECT_EQ(printed, terminal_table(results));
  for (const auto& [name, text] : before) {
    if (!name.ends_with(".pdf")) EXPECT_EQ(after.at(name), text) << name;  // a PDF has its date
  }
}

TEST(Report, ListsEveryRoundOfEveryCell) {
  const RunResults results = testing::realistic_results();
  const ResultTable samples = sample_table(results);
  EXPECT_THAT(samples.columns, ElementsAre("cell_id", "round", "time_s", "schema_version"));
  size_t rounds = 0;
  for (const CellResult& result : results.cells) rounds += result.round_seconds.size();
  ASSERT_EQ(samples.rows.size(), rounds);
  EXPECT_EQ(samples.rows[1][0], Field(results.cells[0].cell.id));
  EXPECT_EQ(samples.rows[1][1], Field(Index{2}));
  EXPECT_EQ(samples.rows[1][2], Field(results.cells[0].round_seconds[1]));
}

// The columns of a table, and whether it opens what it closes.
TEST(Report, WritesMarkdownAndLatexTablesOfOneShape) {
  for (const RunResults& results : {testing::realistic_results(), testing::hostile_results()}) {
    const std::vector<Block> blocks = arrange(results);
    std::stringstream markdown_text(markdown_report(results, blocks));
    Index rows = 0, columns = 0;
    for (std::string line; std::getline(markdown_text, line);) {
      if (!line.starts_with("|")) {
        columns = 0;
        continue;
      }
      std::string bare = std::regex_replace(line, std::regex(R"(\\.)"), "");
      if (columns == 0) columns = std::ranges::count(bare, '|');
      EXPECT_EQ(std::ranges::count(bare, '|'), columns) << line;
      if (columns != 10) continue;  // the tables of fronts and of heads
      EXPECT_EQ(bare.find_first_of("<`[$*"), std::string::npos) << line;
      ++rows;
    }
    EXPECT_EQ(rows, static_cast<Index>(results.cells.size()) + 4);  // two tables with two of head

    std::stringstream latex_text(latex_tables(results, blocks));
    Index depth = 0, between = 0;
    rows = 0;
    for (std::string line; std::getline(latex_text, line);) {
      if (line.starts_with("%")) continue;  // a comment holds one line, whatever stands in it
      const bool is_row = line.ends_with(" \\\\");
      if (is_row) line.resize(line.size() - 3);
      const std::string bare = std::regex_replace(line, std::regex(R"(\\[%$#&_{}])"), "");
      for (const char c : bare) depth += c == '{' ? 1 : c == '}' ? -1 : 0;
      EXPECT_EQ(bare.find_first_of("%#~\"`|<>"), std::string::npos) << line;
      EXPECT_THAT(bare, Not(HasSubstr("\\input"))) << line;
      if (line.starts_with("\\toprule")) between = 0;
      if (!is_row || line.starts_with("\\multicolumn{9}{l}")) continue;
      if (between == 0) between = std::ranges::count(bare, '&');
      EXPECT_EQ(std::ranges::count(bare, '&'), between) << line;
      rows += between == 8 ? 1 : 0;
    }
    EXPECT_EQ(depth, 0);
    EXPECT_EQ(rows, static_cast<Index>(results.cells.size()) + 2);
  }
}

TEST(Report, EscapesTextForEachPaper) {
  EXPECT_EQ(markdown("- a_b|<c> 1*2 \x1b"), R"(\- a\_b\|\<c\> 1\*2 \\x1b)");
  EXPECT_EQ(latex("50% a_b {x} --rounds"), R"(50\% a\_b \{x\} -{}-{}rounds)");
  EXPECT_EQ(latex("\\ ~ ^ 3 µs ±2%"),
            R"(\textbackslash{} \textasciitilde{} \textasciicircum{} 3 \textmu{}s $\pm$2\%)");
}

TEST(Report, WritesSmallFiguresAsPowersOfTenInLatex) {
  const RunResults results = testing::realistic_results();
  const std::string text = latex_tables(results, arrange(results));
  EXPECT_THAT(text, HasSubstr(" & $1.9\\cdot10^{-7}$ & "));
  EXPECT_THAT(text, Not(HasSubstr("1.9e-07")));
}

TEST(Report, BreaksALatexTableThatIsLongerThanAPage) {
  const RunResults results = testing::large_results();
  const std::string text = latex_tables(results, arrange(results));
  size_t in_table = 0;
  std::stringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("\\toprule")) in_table = 0;
    if (line.ends_with(" \\\\")) EXPECT_LE(++in_table, 49u);  // its head among them
  }
  EXPECT_THAT(text, HasSubstr(", continued"));
}

// A timeout stands at the time limit, out of memory at the memory limit; what failed for another
// reason stands near the upper edge; nothing without a result counts as measured.
TEST(Report, DrawsFailuresAtTheirLimits) {
  RunResults results = testing::realistic_results();
  results.cells[3].status = Status::skipped;  // full at 8,192 tokens
  results.cells[3].workspace_bytes.reset();
  results.cells[3].time_s.reset();
  const auto files = files_of(results);
  const auto open_at = [&](const std::string& name) {
    std::set<std::string> found;
    std::stringstream lines(files.at("plots/" + name + ".tsv"));
    for (std::string line; std::getline(lines, line);) {
      std::vector<std::string> fields(1);
      for (const char c : line) c == '\t' ? fields.emplace_back() : fields.back() += c;
      if (fields.at(4) == "open") found.insert(fields.at(1) + " " + fields.at(6));
    }
    return found;
  };
  EXPECT_TRUE(open_at("time-2").contains("blockwise 60"));
  EXPECT_TRUE(open_at("workspace-2").contains("full 209715200"));
  // Skipped: four times the operations of 4,096 tokens, at their speed.
  EXPECT_TRUE(open_at("time-1").contains("full " + exact(4 * results.cells[2].time_s->value)));
  EXPECT_TRUE(open_at("workspace-1")
                  .contains("full " + exact(*results.cells[3].workspace_predicted_bytes)));
  for (const std::string& mark : open_at("time-2")) {
    EXPECT_THAT(mark, Not(HasSubstr("longformer window=64 0.0"))) << "unsupported is no failure";
  }
  EXPECT_THAT(files.at("report.html"), HasSubstr("a timeout stands at the limit of 60.0 s"));
}

// What a run that was cut short says of its baseline.
TEST(Report, SaysWhyTheBaselineHasNoTime) {
  RunResults results = testing::realistic_results();
  CellResult& last = results.cells[3];  // full at 8,192 tokens
  last.time_s.reset();
  const auto says = [&](const std::string& text) {
    const std::vector<Finding> found = findings(arrange(results).front());
    return std::ranges::any_of(found, [&](const Finding& f) { return f.text.starts_with(text); });
  };
  EXPECT_TRUE(says("The run ended before full was timed at 8,192 tokens; at 4,096, the longest"));
  last.status = Status::skipped;
  last.reason = "the run ended before it was measured";
  EXPECT_TRUE(
      says("full has no time at 8,192 tokens (skipped: the run ended before it was "
           "measured); at 4,096, the longest it reached, it takes "));
  for (CellResult& result : results.cells) result.time_s.reset();
  EXPECT_FALSE(says("full has no time")) << "nothing was to be timed";
}

TEST(Report, SpreadsTagsAsLittleAsItMust) {
  EXPECT_THAT(spread({0.25, 1, 0.5}, 0.125), ElementsAre(0.25, 1, 0.5));
  EXPECT_THAT(spread({0.5, 0.5, 0.5, 0.875}, 0.125), ElementsAre(0.375, 0.5, 0.625, 0.875));
  EXPECT_THAT(spread({0.5, 0.5}, 0.25), ElementsAre(0.375, 0.625)) << "in the order given";
  EXPECT_TRUE(spread({}, 0.125).empty());
}

TEST(Report, OfThreeHundredCellsStaysBelowTwoMegabytes) {
  const RunResults results = testing::large_results();
  ASSERT_EQ(results.cells.size(), 300u);
  const auto files = files_of(results);
  EXPECT_LT(files.at("report.html").size(), 2'000'000u);
  size_t pictures = 0;
  const std::string& page = files.at("report.html");
  for (size_t at = page.find("<svg"); at != std::string::npos; at = page.find("<svg", at + 1)) {
    const bool is_part = page.compare(at, 20, "<svg class=\"swatch\" ") == 0 ||
                         page.compare(at, 20, "<svg class=\"shared\" ") == 0;
    if (!is_part) ++pictures;
  }
  EXPECT_EQ(pictures, 2 * 7 + 60u);
}

TEST(Report, PutsADrawingOnThePageWithoutWhatNobodyNeeds) {
  const std::string drawing =
      "<?xml version=\"1.0\"?>\n<svg viewBox=\"0 0 9 9\">\n<title>x</title>\n"
      "<filter id='box' x='0'>\n<feFlood/>\n</filter>\n<g fill=\"none\">\n</g>\n"
      "<g fill=\"none\">\n\t<path  d='M0,1\n\t\tL2.04,399.96  '/></g>\n<g fill=\"none\">\n\t<g "
      "id='a'><text>two  blanks 0.01</text></g>\n</g>\n<g fill=\"red\">\n<path stroke='rgb( 51,  "
      "51, "
      "51)' d='M4,5'/><path stroke='rgb(213, 94, 0)' d='M4.25,5'/></g>\n</svg>\n";
  EXPECT_EQ(inline_svg(drawing, "what").drawing,
            "<svg role=\"img\" aria-label=\"what\" viewBox=\"0 0 9 9\"><g fill=\"none\">"
            "<path d='M0,1 L2,400'/><g><text>two  blanks 0.01</text></g></g>"
            "<g fill=\"red\"><path d='M4,5'/><path stroke='#d55e00' d='M4.3,5'/></g></svg>");
  EXPECT_EQ(inline_svg("<svg><g a=\"1\">x</g>y<g a=\"1\">z</g></svg>", "").drawing.substr(4),
            " role=\"img\" aria-label=\"\"><g a=\"1\">x</g>y<g a=\"1\">z</g></svg>")
      << "what stands between two groups stays between them";
}

TEST(Report, SharesTheSignsOfDrawings) {
  const auto with = [](const std::string& radius) {
    return inline_svg("<svg><defs><circle id='gpPt5' r='" + radius +
                          "'/></defs><use xlink:href='#gpPt5' color='red'/></svg>",
                      "");
  };
  const InlineSvg one = with("1"), other = with("2");
  EXPECT_EQ(one.signs, with("1").signs);
  EXPECT_EQ(one.drawing, with("1").drawing);
  EXPECT_NE(one.drawing, other.drawing);
  const size_t at = one.signs.find("id='") + 4;
  const std::string id = one.signs.substr(at, one.signs.find('\'', at) - at);
  EXPECT_THAT(one.drawing, HasSubstr("<use href='#" + id + "' color='red'/>"));
  EXPECT_THAT(one.drawing, Not(HasSubstr("<defs>")));
}

// gnuplot drops from a key what it finds no room for.
TEST(Report, NamesEverySeriesInTheKeyOfItsFigure) {
  for (const RunResults& results : {testing::realistic_results(), testing::large_results()}) {
    const auto files = files_of(results);
    for (const auto& [name, script] : files) {
      if (!name.ends_with(".gp")) continue;
      const std::string& svg = files.at(name.substr(0, name.size() - 3) + ".svg");
      const std::regex in_script("title key\\(([0-9]+)\\)");
      size_t entries = 0;
      for (std::sregex_iterator at(script.begin(), script.end(), in_script), end; at != end; ++at) {
        ++entries;
        EXPECT_THAT(svg, HasSubstr(">" + (*at)[1].str() + "  ")) << name;
      }
      EXPECT_GT(entries, 0u) << name;
    }
  }
}

TEST(Report, ShowsFailuresWithWhatTheySaid) {
  RunResults results = testing::realistic_results();
  results.cells[31].log = "one line\nanother <line>";
  const std::string page = files_of(results).at("report.html");
  EXPECT_THAT(page, HasSubstr("<pre>one line\nanother &lt;line&gt;\n</pre>"));
  EXPECT_THAT(page, HasSubstr("ended after 60 s"));
}

TEST(Report, PrintsALabelTooLongForItsColumnOnceAboveItsRows) {
  RunResults results = testing::realistic_results();
  results.cells.resize(24);  // the first input
  const std::string value = "of-many-letters-and-of-many-more-letters-still";
  for (CellResult& result : results.cells) {
    if (result.cell.variant == "longformer") result.cell.options[1].second = value;
  }
  results.cells[8].cell.options[1].second = "2";  // so that the label names the option
  std::stringstream table(terminal_table(results));
  size_t headings = 0, rows = 0;
  bool below = false;
  for (std::string line; std::getline(table, line);) {
    if (line.empty()) break;  // behind the name of the experiment
  }
  for (std::string line; std::getline(table, line) && !line.empty();) {
    EXPECT_EQ(line.find("…"), std::string::npos) << line;
    const bool heading = line.ends_with(value);
    if (heading) ++headings;
    if (below && !heading && line.starts_with(" ")) ++rows;
    below = heading || (below && line.starts_with(" "));
  }
  EXPECT_EQ(headings, 2u);
  EXPECT_EQ(rows, 7u);
}

TEST(Report, PutsARemarkBesideEveryFigure) {
  RunResults results = testing::realistic_results();
  for (CellResult& result : results.cells) {
    if (result.cell.variant == "longformer") result.cell.remark = "untrained";
  }
  std::string table = terminal_table(results);
  for (size_t at; (at = table.find("\n  ")) != std::string::npos;) table.replace(at, 3, " ");
  EXPECT_NE(table.find("untrained longformer window=64"), std::string::npos) << table;
  for (size_t at = table.find("longf"); at != std::string::npos; at = table.find("longf", at + 1)) {
    const std::string before = table.substr(std::max<size_t>(at, 10) - 10, 10);
    if (before == "upported: ") continue;  // a reason, which has no figure
    EXPECT_EQ(before, "untrained ") << table;
  }
  const ResultTable rows = result_table(results);
  const auto column = std::ranges::find(rows.columns, "remark") - rows.columns.begin();
  for (size_t n = 0; n < results.cells.size(); ++n) {
    const bool remarked = results.cells[n].cell.variant == "longformer";
    EXPECT_EQ(rows.rows[n].at(static_cast<size_t>(column)),
              remarked ? Field(std::string("untrained")) : Field());
    const Cell read = cell_from_json(to_json(results.cells[n].cell));
    EXPECT_EQ(read.remark, remarked ? "untrained" : "");
  }
}

}  // namespace
}  // namespace longattn

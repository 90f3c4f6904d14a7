#include "experiments/report/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "experiments/judge/statistics.h"
#include "experiments/report/findings.h"
#include "experiments/report/growth.h"
#include "experiments/report/heads.h"
#include "experiments/report/html_method.h"
#include "experiments/report/html_provenance.h"
#include "experiments/report/html_tables.h"
#include "experiments/report/inputs.h"
#include "experiments/report/judgements.h"
#include "experiments/report/page_assets.h"
#include "experiments/report/patterns.h"
#include "experiments/report/shared_drawings.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

// Of all pictures: the page stays below 2 MB.
constexpr size_t kPatternBytes = 700 << 10, kPatternBytesOfPart = 300 << 10;
constexpr size_t kPatternsOfPart = 60;

std::string block_heading(const Block& block) {
  return fmt::format("<h3>{} <small>{}</small></h3>\n", html(block.input), html(block.problem));
}

std::string head(const RunResults& results) {
  const std::string title = html(results.experiment);
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{} – longattn</title>\n<style>{}</style>\n</head>\n<body>\n",
      kPagePolicy, title, kPageStyle);
}

// Title, how many cells ended how, and where to go.
std::string page_header(const RunResults& results) {
  std::map<Status, Index> counts;
  for (const CellResult& result : results.cells) ++counts[result.status];
  std::string status;
  for (const auto& [value, count] : counts) {
    status += fmt::format("<li{}><b>{}</b> {}</li>", value == Status::ok ? "" : " class=\"bad\"",
                          count, to_string(value));
  }
  return fmt::format(
      "<header>\n<h1>{}</h1>\n<p class=\"deck\">What each attention variant costs, and how wrong "
      "it "
      "is, compared with full attention.</p>\n<ul class=\"status\"><li><b>{}</b> "
      "cells</li>{}</ul>\n"
      "</header>\n<nav aria-label=\"Contents\"><ul><li><a href=\"#findings\">Findings</a></li>"
      "<li><a href=\"#results\">Results</a></li><li><a href=\"#inputs\">Inputs</a></li>"
      "<li><a href=\"#scaling\">Scaling</a></li>"
      "<li><a href=\"#error\">Error against cost</a></li>"
      "<li><a href=\"#heads\">Heads</a></li>"
      "<li><a href=\"#patterns\">Patterns</a></li><li><a href=\"#failures\">Failures</a></li>"
      "<li><a href=\"#method\">Method</a></li><li><a href=\"#provenance\">Provenance</a></li>"
      "</ul></nav>\n<main>\n",
      html(results.experiment), results.cells.size(), status);
}

std::string counted(size_t count) { return grouped(static_cast<Index>(count)); }

// What the page shows of a run that is too large for it, and where the rest is.
std::string part_note(const PagePart& part) {
  if (part.is_whole()) return "";
  std::string text = fmt::format(
      "<p class=\"note\" id=\"part\">This page shows {} of {} rows: of each input and problem at "
      "most "
      "{} settings (the first of each variant, those on the front of error, time and workspace at "
      "the longest length, and some of the others), at lengths in equal steps of their logarithm, "
      "and of each setting the longest length and the longest with a result.",
      counted(part.rows), counted(part.all_rows), kCurves);
  if (part.blocks.size() < part.all_blocks) {
    text += fmt::format(" Of {} inputs and problems it shows the first {}.",
                        counted(part.all_blocks), counted(part.blocks.size()));
  }
  if (part.drawn_blocks < part.blocks.size()) {
    text += fmt::format(" Pictures are drawn of the first {}.", part.drawn_blocks);
  }
  return text +
         " Sentences, standings and growth are of all rows. All rows are in <a "
         "href=\"results.csv\">results.csv</a> beside this page, with the command that repeats "
         "each, and all findings in <a href=\"results.md\">results.md</a>.</p>\n";
}

std::string findings_section(const RunResults& results, const std::vector<Block>& blocks) {
  std::string text = "<section id=\"findings\">\n<h2>Findings</h2>\n";
  for (const Block& block : blocks) {
    text += block_heading(block) + "<ul class=\"findings\">\n";
    for (const Finding& finding : findings(whole(block))) {
      text +=
          fmt::format("<li{}>{}</li>\n", finding.alarm ? " class=\"bad\"" : "", html(finding.text));
    }
    text += "</ul>\n";
  }
  const std::string failures = failures_sentence(results);
  text += failures.empty() ? "<p>Every cell has a result.</p>\n"
                           : fmt::format(
                                 "<p><span class=\"bad\">{}</span> The reasons are under <a "
                                 "href=\"#failures\">Failures</a>.</p>\n",
                                 html(failures));
  return text + "</section>\n";
}

std::string results_section(const std::vector<Block>& blocks) {
  std::string text =
      "<section id=\"results\">\n<h2>Results</h2>\n<p class=\"note\">Medians with half of their 95 "
      "% "
      "interval; hold the pointer over a figure for all its digits. What each column means is "
      "under "
      "<a href=\"#method\">Method</a>.</p>\n";
  for (const Block& block : blocks) {
    text += block_heading(block);
    if (const std::string part = part_text(block); !part.empty()) {
      text += fmt::format(
          "<p class=\"note\">{}; all are in <a href=\"results.csv\">results.csv</a>."
          "</p>\n",
          part);
    }
    text += summary_table(block);
    if (const std::string errors = error_table(block); !errors.empty()) {
      text += "<h4>What the errors are made of</h4>\n" + errors;
    }
  }
  return text + "</section>\n";
}

std::string inputs_section(const RunResults& results, const std::vector<Block>& blocks) {
  const std::string table = input_table(results, blocks);
  return "<section id=\"inputs\">\n<h2>Inputs</h2>\n" +
         (table.empty() ? "<p>Not measured.</p>\n"
                        : "<p class=\"note\">What full attention does on each input, on sampled "
                          "rows, and what its generator was asked for.</p>\n" +
                              table) +
         "</section>\n";
}

std::string caption(size_t number, const std::string& text) {
  return fmt::format("<figcaption><b>Figure {}.</b> {}</figcaption>", number, html(text));
}

std::string plot_figure(const Plot& plot, size_t number, SharedDrawings& shared) {
  std::string key;
  for (const auto& [place, label, look, open] : plot.key) {
    key += fmt::format(
        "<li><svg class=\"swatch\" viewBox=\"0 0 26 10\" aria-hidden=\"true\">{}</svg><b>{}</b>"
        "<span>{}</span></li>\n",
        shared.use(swatch(look, open)), place, html(label));
  }
  shared.add(plot.svg.signs);
  return fmt::format("<figure class=\"plot\">{}\n<ul class=\"key\">{}</ul>\n{}</figure>\n",
                     plot.svg.drawing, key, caption(number, plot.caption));
}

// The figures of some kinds, block by block, and what stands below those of each.
std::string plots_section(const PageParts& parts, const char* id, const char* title,
                          std::initializer_list<Plot::Kind> kinds,
                          std::string (*below)(const Block&), size_t& number,
                          SharedDrawings& shared) {
  std::string text = fmt::format("<section id=\"{}\">\n<h2>{}</h2>\n", id, title);
  if (!parts.no_plots.empty()) {
    text += fmt::format("<p class=\"bad\">The plots could not be drawn: {}</p>\n",
                        html(parts.no_plots));
  }
  std::string blocks;
  for (size_t n = 0; n < parts.part.blocks.size(); ++n) {
    std::string block;
    for (const Plot& plot : parts.plots) {
      const bool here = std::ranges::find(kinds, plot.kind) != kinds.end();
      if (here && plot.block == n) block += plot_figure(plot, ++number, shared);
    }
    block += below(parts.part.blocks[n]);
    if (!block.empty()) blocks += block_heading(parts.part.blocks[n]) + block;
  }
  if (blocks.empty() && parts.no_plots.empty()) {
    blocks = "<p>Nothing was measured that could be drawn.</p>\n";
  }
  return text + blocks + "</section>\n";
}

std::string titled_table(const TextTable& table) {
  if (table.rows.empty()) return "";
  return fmt::format("<h4>{}</h4>\n", html(table.name)) + html_table(table);
}

std::string pareto_html(const Block& block) { return titled_table(pareto_overview(block)); }
std::string heads_html(const Block& block) { return titled_table(heads_overview(whole(block))); }

// Of a page that shows a part: of the series that it shows.
std::vector<const PatternPicture*> shown_patterns(const RunResults& results, const PagePart& part) {
  std::set<std::string> cells;
  for (const Block& block : part.blocks) {
    for (const Series& series : block.series) {
      for (const CellResult* result : whole(series).cells) cells.insert(result->cell.id);
    }
  }
  std::vector<const PatternPicture*> pictures;
  for (const PatternPicture& picture : results.patterns) {
    if (part.is_whole() || cells.contains(picture.cell_id)) pictures.push_back(&picture);
  }
  if (!part.is_whole()) pictures.resize(std::min(pictures.size(), kPatternsOfPart));
  return pictures;
}

std::string patterns_section(const RunResults& results, const PagePart& part, size_t& number,
                             SharedDrawings& shared) {
  std::string text = "<section id=\"patterns\">\n<h2>Attention patterns</h2>\n";
  const std::vector<const PatternPicture*> pictures = shown_patterns(results, part);
  if (pictures.empty()) {
    return text + "<p>No pattern was recorded.</p>\n</section>\n";
  }
  if (pictures.size() < results.patterns.size()) {
    text += fmt::format(
        "<p class=\"note\">{} of {} recorded pictures; the numbers of all are in "
        "journal.jsonl.</p>\n",
        pictures.size(), counted(results.patterns.size()));
  }
  text +=
      "<p class=\"note\">Absolute weights of the first head: each bin is the mean over its queries "
      "of "
      "the mass on its keys, on a square-root scale up to the picture's own brightest hundredth. "
      "Blank "
      "bins have no mass at all.</p>\n<div class=\"patterns\">\n";
  const size_t bytes = part.is_whole() ? kPatternBytes : kPatternBytesOfPart;
  const size_t each = std::min(bytes / pictures.size(), size_t{40} << 10);
  for (const PatternPicture* picture : pictures) {
    const CellResult* result = results.find(picture->cell_id);
    const Index queries = result == nullptr ? picture->rows : result->cell.problem.query_len;
    const Index keys = result == nullptr ? picture->columns : result->cell.problem.key_len;
    const std::string frame = shared.use(pattern_frame(queries, keys));
    text += fmt::format("<figure>{}{}</figure>\n", pattern_svg(*picture, frame, each),
                        caption(++number, picture->title));
  }
  return text + fmt::format(
                    "</div>\n<div class=\"scale\"><span>little</span><i style=\"background:"
                    "linear-gradient(90deg, {})\"></i><span>much mass</span></div>\n</section>\n",
                    pattern_gradient());
}

std::string failures_section(const RunResults& results, const PagePart& part) {
  const std::string table = failure_table(results, part.is_whole());
  return "<section id=\"failures\">\n<h2>Failures</h2>\n" +
         (table.empty() ? "<p>None: every cell has a result.</p>\n" : table) + "</section>\n";
}

std::string method_section(const RunResults& results) {
  std::set<Index> rows;
  for (const CellResult& result : results.cells) {
    if (result.sampled_rows > 0) rows.insert(result.sampled_rows);
  }
  std::string sampled;
  if (!rows.empty()) {
    sampled = *rows.begin() == *rows.rbegin()
                  ? fmt::format("<p>Errors of this run are judged on {} query rows per cell.</p>\n",
                                grouped(*rows.begin()))
                  : fmt::format(
                        "<p>Errors of this run are judged on {} to {} query rows per "
                        "cell.</p>\n",
                        grouped(*rows.begin()), grouped(*rows.rbegin()));
  }
  if (!rows.empty()) {
    sampled += fmt::format(
        "<p>Simulated on all rows of the shipped trace and of every generator, these intervals of "
        "a "
        "nominal 95 % hold the figure of all rows in {:.0f} % and more where they are of all heads "
        "together; of a single head in {:.0f} % at worst, where its error hangs on a few "
        "rows.</p>\n",
        100 * kSimulatedCoverage, 100 * kSimulatedHeadCoverage);
  }
  return fmt::format("<section id=\"method\">\n<h2>Method</h2>\n{}{}</section>\n", kMethod,
                     sampled);
}

}  // namespace

std::string report_page(const RunResults& results, const PageParts& parts) {
  size_t number = 0;  // of figures
  SharedDrawings shared;
  const std::vector<Block>& blocks = parts.part.blocks;
  std::string page = head(results) + page_header(results) + part_note(parts.part);
  page += findings_section(results, blocks) + results_section(blocks);
  page += inputs_section(results, blocks);
  using enum Plot::Kind;
  page += plots_section(parts, "scaling", "Scaling", {time, workspace, error_length}, growth_html,
                        number, shared);
  page += plots_section(parts, "error", "Error against cost", {error, budget, pareto}, pareto_html,
                        number, shared);
  page += plots_section(parts, "heads", "Heads", {heads}, heads_html, number, shared);
  page += patterns_section(results, parts.part, number, shared);
  page += failures_section(results, parts.part) + method_section(results);
  page += provenance_section(results, parts);
  page += shared.svg();
  page += fmt::format(
      "</main>\n<footer class=\"note\">{} cells, written by longattn into {}.</footer>\n",
      results.cells.size(), html(results.folder));
  return page + fmt::format("<script>{}</script>\n</body>\n</html>\n", kPageScript);
}

}  // namespace longattn

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
#include "experiments/report/html_tables.h"
#include "experiments/report/inputs.h"
#include "experiments/report/judgements.h"
#include "experiments/report/page_assets.h"
#include "experiments/report/patterns.h"
#include "experiments/report/shared_drawings.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

constexpr size_t kPatternBytes = 700 << 10;  // of all pictures: the page stays below 2 MB

// For a data URI, which drops line ends and white space.
std::string percent_encoded(std::string_view bytes) {
  constexpr std::string_view kPlain = "-._~!$'()*+,;:@/?=[]{}|^";
  std::string text;
  for (const char c : bytes) {
    const bool letter = ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || ('0' <= c && c <= '9');
    if (letter || kPlain.find(c) != kPlain.npos) {
      text += c;
    } else {
      text += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return text;
}

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

std::string findings_section(const RunResults& results, const std::vector<Block>& blocks) {
  std::string text = "<section id=\"findings\">\n<h2>Findings</h2>\n";
  for (const Block& block : blocks) {
    text += block_heading(block) + "<ul class=\"findings\">\n";
    for (const Finding& finding : findings(block)) {
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
    text += block_heading(block) + summary_table(block);
    if (const std::string errors = error_table(block); !errors.empty()) {
      text += "<h4>What the errors are made of</h4>\n" + errors;
    }
  }
  return text + "</section>\n";
}

std::string inputs_section(const RunResults& results) {
  const std::string table = input_table(results);
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
  for (size_t n = 0; n < parts.blocks.size(); ++n) {
    std::string block;
    for (const Plot& plot : parts.plots) {
      const bool here = std::ranges::find(kinds, plot.kind) != kinds.end();
      if (here && plot.block == n) block += plot_figure(plot, ++number, shared);
    }
    block += below(parts.blocks[n]);
    if (!block.empty()) blocks += block_heading(parts.blocks[n]) + block;
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
std::string heads_html(const Block& block) { return titled_table(heads_overview(block)); }

std::string patterns_section(const RunResults& results, size_t& number, SharedDrawings& shared) {
  std::string text = "<section id=\"patterns\">\n<h2>Attention patterns</h2>\n";
  if (results.patterns.empty()) {
    return text + "<p>No pattern was recorded.</p>\n</section>\n";
  }
  text +=
      "<p class=\"note\">Absolute weights of the first head: each bin is the mean over its queries "
      "of "
      "the mass on its keys, on a square-root scale up to the picture's own brightest hundredth. "
      "Blank "
      "bins have no mass at all.</p>\n<div class=\"patterns\">\n";
  const size_t each = std::min(kPatternBytes / results.patterns.size(), size_t{40} << 10);
  for (const PatternPicture& picture : results.patterns) {
    const CellResult* result = results.find(picture.cell_id);
    const Index queries = result == nullptr ? picture.rows : result->cell.problem.query_len;
    const Index keys = result == nullptr ? picture.columns : result->cell.problem.key_len;
    const std::string frame = shared.use(pattern_frame(queries, keys));
    text += fmt::format("<figure>{}{}</figure>\n", pattern_svg(picture, frame, each),
                        caption(++number, picture.title));
  }
  return text + fmt::format(
                    "</div>\n<div class=\"scale\"><span>little</span><i style=\"background:"
                    "linear-gradient(90deg, {})\"></i><span>much mass</span></div>\n</section>\n",
                    pattern_gradient());
}

std::string failures_section(const RunResults& results) {
  const std::string table = failure_table(results);
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

// The text with its line numbers, which are no part of it when it is copied.
std::string numbered(std::string_view text) {
  std::string lines = html_lines(text), result;
  for (std::string_view rest = lines; !rest.empty();) {
    const size_t end = rest.find('\n');
    result += fmt::format("<span>{}\n</span>", rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
  return fmt::format("<pre class=\"numbered\" tabindex=\"0\">{}</pre>\n", result);
}

std::string provenance_section(const RunResults& results, const std::string& csv) {
  std::string text =
      "<section id=\"provenance\">\n<h2>Provenance</h2>\n" + provenance_table(results.provenance);
  text += fmt::format(
      "<h3>The command that repeats it</h3>\n<pre tabindex=\"0\">{}</pre>\n"
      "<details><summary>The command that repeats each row alone</summary>\n{}</details>\n",
      html_lines(results.command), command_table(results));
  if (!results.config_text.empty()) {
    text += "<h3>Its configuration</h3>\n" + numbered(results.config_text);
  }
  return text + fmt::format(
                    "<h3>All figures</h3>\n<p><a download=\"results.csv\" "
                    "href=\"data:text/csv;charset=utf-8,{}\">results.csv</a>: one row "
                    "per cell, full precision, seconds and bytes. Beside this page: the same as "
                    "JSON lines (results.jsonl), every round (samples.csv), every head "
                    "(heads.csv), tables for papers "
                    "(results.md, results.tex), and each plot as SVG and PDF with its data and "
                    "gnuplot script (plots).</p>\n</section>\n",
                    percent_encoded(csv));
}

}  // namespace

std::string report_page(const RunResults& results, const PageParts& parts) {
  size_t number = 0;  // of figures
  SharedDrawings shared;
  std::string page = head(results) + page_header(results);
  page += findings_section(results, parts.blocks) + results_section(parts.blocks);
  page += inputs_section(results);
  using enum Plot::Kind;
  page += plots_section(parts, "scaling", "Scaling", {time, workspace, error_length}, growth_html,
                        number, shared);
  page += plots_section(parts, "error", "Error against cost", {error, budget, pareto}, pareto_html,
                        number, shared);
  page += plots_section(parts, "heads", "Heads", {heads}, heads_html, number, shared);
  page += patterns_section(results, number, shared);
  page += failures_section(results) + method_section(results);
  page += provenance_section(results, parts.csv);
  page += shared.svg();
  page += fmt::format(
      "</main>\n<footer class=\"note\">{} cells, written by longattn into {}.</footer>\n",
      results.cells.size(), html(results.folder));
  return page + fmt::format("<script>{}</script>\n</body>\n</html>\n", kPageScript);
}

}  // namespace longattn

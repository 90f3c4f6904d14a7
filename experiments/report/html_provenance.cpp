#include "experiments/report/html_provenance.h"

#include <fmt/format.h>

#include "experiments/report/html_tables.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

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

// The figures of all rows: in the page, or beside it.
std::string csv_link(const PageParts& parts) {
  if (!parts.part.is_whole()) return "<a href=\"results.csv\">results.csv</a> beside this page";
  return "<a download=\"results.csv\" href=\"data:text/csv;charset=utf-8," +
         percent_encoded(parts.csv) + "\">results.csv</a>";
}

}  // namespace

std::string provenance_section(const RunResults& results, const PageParts& parts) {
  std::string text =
      "<section id=\"provenance\">\n<h2>Provenance</h2>\n" + provenance_table(results.provenance);
  text += fmt::format("<h3>The command that repeats it</h3>\n<pre tabindex=\"0\">{}</pre>\n",
                      html_lines(results.command));
  text += parts.part.is_whole()
              ? fmt::format(
                    "<details><summary>The command that repeats each row alone</summary>\n{}"
                    "</details>\n",
                    command_table(results))
              : "<p>Its rows alone: the same with --cell and a cell_id; in <a "
                "href=\"results.csv\">results.csv</a> the column command has each.</p>\n";
  if (!results.config_text.empty()) {
    text += "<h3>Its configuration</h3>\n" + numbered(results.config_text);
  }
  return text + fmt::format(
                    "<h3>All figures</h3>\n<p>{}: one row "
                    "per cell, full precision, seconds and bytes. Beside this page: the same as "
                    "JSON lines (results.jsonl), every round (samples.csv), every head "
                    "(heads.csv), tables for papers "
                    "(results.md, results.tex), and each plot as SVG and PDF with its data and "
                    "gnuplot script (plots).</p>\n</section>\n",
                    csv_link(parts));
}

}  // namespace longattn

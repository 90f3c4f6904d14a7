#include "experiments/report/report.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <span>

#include "core/error.h"
#include "core/io/file.h"
#include "experiments/report/csv.h"
#include "experiments/report/growth.h"
#include "experiments/report/heads.h"
#include "experiments/report/html.h"
#include "experiments/report/paper_tables.h"
#include "experiments/report/tables.h"

namespace longattn {

void print_table(const RunResults& results, std::FILE* out) {
  const std::string text = terminal_table(results);
  if (std::fwrite(text.data(), 1, text.size(), out) != text.size() || std::fflush(out) != 0) {
    throw IoError(fmt::format("cannot write the table: {}", std::strerror(errno)));
  }
}

void write_report(const RunResults& results, const std::string& folder) {
  const ResultTable table = result_table(results);
  PageParts parts;
  parts.csv = to_csv(table);
  const std::vector<Block> blocks = arrange(results);
  parts.part = page_part(blocks);
  write_text(folder + "/results.csv", parts.csv);
  if (!results.inputs.empty()) write_text(folder + "/inputs.csv", to_csv(inputs_table(results)));
  const ResultTable heads = heads_table(results);
  if (!heads.rows.empty()) write_text(folder + "/heads.csv", to_csv(heads));
  write_text(folder + "/scaling.csv", to_csv(scaling_table(results)));
  write_text(folder + "/results.jsonl", to_json_lines(table));
  write_text(folder + "/samples.csv", to_csv(sample_table(results)));
  write_text(folder + "/results.md", markdown_report(results, blocks));
  write_text(folder + "/results.tex", latex_tables(results, blocks));
  std::exception_ptr failure;
  try {
    parts.plots = draw_plots(std::span(parts.part.blocks).first(parts.part.drawn_blocks), folder);
  } catch (const IoError& error) {
    parts.no_plots = error.what();
    failure = std::current_exception();
  }
  write_text(folder + "/report.html", report_page(results, parts));
  if (failure) std::rethrow_exception(failure);
}

}  // namespace longattn

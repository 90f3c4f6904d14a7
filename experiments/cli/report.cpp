#include "experiments/report/report.h"

#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "experiments/cli/commands.h"
#include "experiments/cli/run_common.h"
#include "experiments/exit_codes.h"
#include "experiments/report/csv.h"
#include "experiments/report/growth.h"
#include "experiments/report/heads.h"
#include "experiments/report/paper_tables.h"

namespace longattn {

namespace {

void print_as(const std::string& format, const RunResults& results) {
  if (format == "table") return print_table(results, stdout);
  const auto text = [&] {
    if (format == "csv") return to_csv(result_table(results));
    if (format == "samples") return to_csv(sample_table(results));
    if (format == "heads") return to_csv(heads_table(results));
    if (format == "scaling") return to_csv(scaling_table(results));
    if (format == "json") return to_json_text(result_table(results));
    if (format == "jsonl") return to_json_lines(result_table(results));
    if (format == "md") return markdown_report(results, arrange(results));
    return latex_tables(results, arrange(results));
  };
  fmt::print("{}", text());
}

}  // namespace

void add_report(CLI::App& app, const Invocation&, Action& chosen) {
  CLI::App* command = app.add_subcommand(
      "report", "Write report.html, tables and plots anew from the journal of a run");
  struct Arguments {
    std::string folder, format = "table";
  };
  auto arguments = std::make_shared<Arguments>();
  command->add_option("folder", arguments->folder, "folder of a run")->required();
  command
      ->add_option(
          "--format", arguments->format,
          "what goes to standard output: table, csv, samples, scaling, heads, json, jsonl, md or "
          "tex")
      ->check(CLI::IsMember(
          {"table", "csv", "samples", "scaling", "heads", "json", "jsonl", "md", "tex"}));
  command->footer("Works on interrupted runs too: everything measured is in journal.jsonl.");
  command->callback([&chosen, arguments] {
    chosen = [arguments]() -> int {
      const RunResults results = read_results(arguments->folder);
      print_as(arguments->format, results);
      write_report(results, arguments->folder);
      fmt::print(stderr, "report:  {}\n",
                 (std::filesystem::path(arguments->folder) / "report.html").string());
      return kExitOk;
    };
  });
}

}  // namespace longattn

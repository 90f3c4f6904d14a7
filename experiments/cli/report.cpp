#include "experiments/report/report.h"

#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "experiments/cli/commands.h"
#include "experiments/exit_codes.h"
#include "experiments/report/csv.h"
#include "experiments/results.h"

namespace longattn {

void add_report(CLI::App& app, const Invocation&, Action& chosen) {
  CLI::App* command = app.add_subcommand(
      "report", "Write results.csv, plots and report.html anew from the journal of a run");
  struct Arguments {
    std::string folder, format = "table";
  };
  auto arguments = std::make_shared<Arguments>();
  command->add_option("folder", arguments->folder, "folder of a run")->required();
  command
      ->add_option("--format", arguments->format,
                   "what goes to standard output: table, csv or json")
      ->check(CLI::IsMember({"table", "csv", "json"}));
  command->footer("Works on interrupted runs too: everything measured is in journal.jsonl.");
  command->callback([&chosen, arguments] {
    chosen = [arguments]() -> int {
      const RunResults results = results_from_folder(arguments->folder);
      if (arguments->format == "table") {
        print_table(results, stdout);
      } else {
        const ResultTable table = result_table(results);
        fmt::print("{}", arguments->format == "csv" ? to_csv(table) : to_json_text(table));
      }
      write_report(results, arguments->folder);
      fmt::print(stderr, "report:  {}\n",
                 (std::filesystem::path(arguments->folder) / "report.html").string());
      return kExitOk;
    };
  });
}

}  // namespace longattn

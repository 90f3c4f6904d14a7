#include "experiments/cli/run_common.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/error.h"
#include "core/io/text.h"
#include "experiments/exit_codes.h"
#include "experiments/progress.h"
#include "experiments/report/report.h"
#include "experiments/results.h"
#include "experiments/serialize.h"

namespace longattn {
namespace {

std::string quoted(const std::string& argument) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-+=./:,@%").find(c) != std::string_view::npos;
  };
  if (!argument.empty() && std::ranges::all_of(argument, plain)) return argument;
  std::string text = "'";
  for (char c : argument) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

void print_json(const RunResults& results) {
  nlohmann::json cells = nlohmann::json::array();
  for (const CellResult& result : results.cells) {
    nlohmann::json cell = measurements_to_json(result);
    cell["cell"] = to_json(result.cell);
    cells.push_back(std::move(cell));
  }
  const nlohmann::json all = {{"experiment", results.experiment},
                              {"folder", results.folder},
                              {"command", results.command},
                              {"cells", cells}};
  const std::string text = all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw IoError(fmt::format("cannot write the results: {}", std::strerror(errno)));
  }
}

}  // namespace

std::string command_text(const std::vector<std::string>& arguments) {
  std::vector<std::string> parts;
  for (const std::string& argument : arguments) parts.push_back(quoted(argument));
  return fmt::format("{}", fmt::join(parts, " "));
}

RunResults read_results(const std::string& folder) {
  RunResults results = results_from_folder(folder);
  for (const auto& [name, value] : results.provenance) {
    if (name != "journal") continue;
    say(fmt::format("longattn: warning: {}/journal.jsonl: {}\n", printable(folder), value));
  }
  return results;
}

void present(const RunResults& results, const Presentation& presentation) {
  std::exception_ptr failure;
  try {
    if (presentation.report) write_report(results, results.folder);
  } catch (const IoError&) {
    failure = std::current_exception();
  }
  std::signal(SIGPIPE, SIG_DFL);  // `| head` ends the printing without a word
  if (presentation.json) {
    print_json(results);
  } else {
    print_table(results, stdout);
  }
  for (const auto& [name, file] :
       {std::pair("report: ", "report.html"), {"table:  ", "results.csv"}}) {
    const std::filesystem::path path = std::filesystem::path(results.folder) / file;
    if (std::filesystem::exists(path)) say(fmt::format("{} {}\n", name, path.string()));
  }
  if (!failure) return;
  say(
      fmt::format("not all files of the report are written; everything measured is in {}, and they "
                  "are made anew by: {}\n",
                  (std::filesystem::path(results.folder) / "journal.jsonl").string(),
                  command_text({"longattn", "report", results.folder})));
  std::rethrow_exception(failure);
}

int exit_code_of(const RunResults& results) {
  const bool failed = std::ranges::any_of(results.cells, [](const CellResult& result) {
    return result.status != Status::ok && result.status != Status::skipped &&
           result.status != Status::unsupported;
  });
  return failed ? kExitFailedCells : kExitOk;
}

}  // namespace longattn

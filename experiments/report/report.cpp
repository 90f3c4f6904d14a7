#include "experiments/report/report.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "core/io/file.h"
#include "experiments/report/csv.h"
#include "experiments/report/tables.h"

namespace longattn {

void print_table(const RunResults& results, std::FILE* out) {
  const std::string text = terminal_table(results);
  if (std::fwrite(text.data(), 1, text.size(), out) != text.size() || std::fflush(out) != 0) {
    throw IoError(fmt::format("cannot write the table: {}", std::strerror(errno)));
  }
}

void write_report(const RunResults& results, const std::string& folder) {
  write_text(folder + "/results.csv", to_csv(result_table(results)));
}

}  // namespace longattn

#include "tests/fuzz/readers.h"

#include <algorithm>

#include "core/io/npy.h"
#include "core/io/safetensors.h"
#include "core/io/text.h"
#include "experiments/config/experiment.h"
#include "experiments/plan.h"
#include "experiments/report/csv.h"
#include "experiments/report/html.h"
#include "experiments/report/tables.h"
#include "experiments/results.h"

namespace longattn {

void take_npy(const std::string& path) {
  const NpyArray array = read_npy(path);
  if (is_floating(array.type)) to_tensor(array, path);
}

void take_safetensors(const std::string& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  for (const auto& [name, item] : file.entries()) {
    if (item.type && item.shape.size() >= 2 && item.shape.size() <= 4) file.load(name);
  }
}

void take_config(const std::string& path, std::span<const Variant* const> variants,
                 std::span<const std::string> overrides) {
  make_plan(read_experiment(path, variants, overrides));
}

void take_run_folder(const std::string& folder) {
  const RunResults results = results_from_folder(folder);
  terminal_table(results);
  PageParts parts;
  const std::vector<Block> blocks = arrange(results);
  parts.part = page_part(blocks);
  parts.csv = to_csv(result_table(results));
  report_page(results, parts);
}

std::string objection_to_data_error(const Error& error, std::string_view path) {
  const std::string message = error.what();
  if (dynamic_cast<const DataError*>(&error) == nullptr) return "not a DataError: " + message;
  if (!message.starts_with(path)) return "does not begin with the path: " + message;
  if (printable(message) != message) return "a line end or a control character: " + message;
  return "";
}

std::string objection_to_config_error(const Error& error, std::string_view path) {
  const std::string message = error.what();
  if (message.find(path) == std::string::npos) return "does not name the file: " + message;
  for (std::string_view rest = message; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    if (printable(line) != line) return "a control character: " + message;
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
  }
  return "";
}

}  // namespace longattn

#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "experiments/cell.h"

namespace longattn {

/// Folds one journal record into the results: the only way from measurements to a report, for a
/// running experiment and for a folder read back alike.
void apply_record(const nlohmann::json& record, RunResults& results);

/// Medians and intervals over rounds; cells of which nothing was measured become `skipped`. After
/// the last record.
void finish_results(RunResults& results);

/// Rebuilds everything from the files of a run folder: journal.jsonl. Throws IoError, and DataError
/// when the folder holds no journal or a damaged one.
RunResults results_from_folder(const std::string& folder);

}  // namespace longattn

#pragma once

#include <nlohmann/json.hpp>

#include "experiments/cell.h"
#include "experiments/config/experiment.h"

namespace longattn {

/// An integer; throws std::invalid_argument for anything else, also for 4.0 and 1e30, which
/// json.get would cut down to some integer or other.
Index integer_from(const nlohmann::json& value);

// Plain data as JSON objects and back. Reading throws nlohmann::json::exception or
// std::invalid_argument on what does not fit.
nlohmann::json to_json(const Problem& problem);
Problem problem_from_json(const nlohmann::json& json);
nlohmann::json to_json(const Cell& cell);
Cell cell_from_json(const nlohmann::json& json);
nlohmann::json to_json(const Measure& measure);
Measure measure_from_json(const nlohmann::json& json);

/// The measured fields of a result (everything but the cell); what was not measured is left out.
nlohmann::json measurements_to_json(const CellResult& result);
/// Sets those fields of `result` that the object has; leaves the others alone. Rounds add up.
void apply_measurements(const nlohmann::json& json, CellResult& result);

nlohmann::json to_json(const InputResult& result);
InputResult input_from_json(const nlohmann::json& json);

}  // namespace longattn

#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "experiments/config/yaml_tree.h"

namespace longattn {

/// What an editor would complain of: JSON Schema, the keywords that the schema of configs uses.
/// Each complaint is a path and a reason. Throws std::logic_error for a keyword that is not
/// implemented here, so that no rule goes untested.
std::vector<std::string> schema_complaints(const nlohmann::json& schema,
                                           const nlohmann::json& value);

/// A config as an editor sees it: plain scalars by the YAML 1.2 core schema.
nlohmann::json to_json(const YamlNode& node);

}  // namespace longattn

#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>

#include "core/variant.h"

namespace longattn {

/// JSON Schema (draft 2020-12) of a config, for editors: made from the tables of keys (keys.h) and
/// the variants' lists of options, which are what the reader goes by. Every config that the reader
/// accepts is valid, but for keys that `~` takes away; the reader asks for more:
/// that heads divide, that files exist, what `where` says.
nlohmann::json config_schema(std::span<const Variant* const> variants);

}  // namespace longattn

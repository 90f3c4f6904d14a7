#pragma once

#include <span>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/variant.h"

namespace longattn {

// What the program does with a file that a user hands over, for fuzz targets and mutation tests:
// each of these may return or throw Error, and nothing else may happen.

void take_npy(const std::string& path);
void take_safetensors(const std::string& path);
/// Reads a config, as the arguments of --set change it, and plans it.
void take_config(const std::string& path, std::span<const Variant* const> variants,
                 std::span<const std::string> overrides = {});
/// What `longattn report` does with a folder that holds a journal, but for the plots.
void take_run_folder(const std::string& folder);

// What is wrong with a refusal; empty when it is as it must be.

/// Of a data file: a DataError of one line, without control characters, that begins with `path`.
std::string objection_to_data_error(const Error& error, std::string_view path);
/// Of a config: it names `path` (or any place, if that is empty), and has no control characters but
/// line ends.
std::string objection_to_config_error(const Error& error, std::string_view path);

}  // namespace longattn

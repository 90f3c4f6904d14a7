#pragma once

#include <map>
#include <string>
#include <string_view>

#include "core/io/safetensors.h"

namespace longattn {

constexpr Index kMaxSafetensorsHeader = Index{16} << 20;
constexpr size_t kMaxSafetensorsTensors = 100'000;
constexpr size_t kMaxSafetensorsName = 4096;
constexpr size_t kMaxSafetensorsAxes = 64;

struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry> entries;  ///< begin and end: of the data section
  SafetensorsMetadata metadata;
};

/// Parses the JSON and checks every rule that does not need the file's size.
/// Throws DataError, beginning with `path`.
SafetensorsHeader parse_safetensors_header(std::string_view json, std::string_view path);

/// Checks that the tensors cover [0, data_size) without hole, overlap or rest.
void check_safetensors_layout(const SafetensorsHeader& header, Index data_size,
                              std::string_view path);

/// The name of an element type in the format ("F32").
std::string_view safetensors_dtype(ElementType type);

}  // namespace longattn

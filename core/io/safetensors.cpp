#include "core/io/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/io/safetensors_header.h"
#include "core/io/text.h"

namespace longattn {

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  SafetensorsFile result{InputFile(path)};
  const InputFile& file = result.file_;
  const std::string shown = printable(path);
  if (file.size() < 8) {
    throw DataError(
        fmt::format("{}: size, expected at least 8 bytes, found {}", shown, file.size()));
  }
  std::uint64_t length = 0;
  file.read(0, std::as_writable_bytes(std::span(&length, 1)));
  const Index most = std::min(file.size() - 8, kMaxSafetensorsHeader);
  if (length > static_cast<std::uint64_t>(most)) {
    throw DataError(
        fmt::format("{}: header length, expected at most {} bytes ({}), found {}", shown, most,
                    most == kMaxSafetensorsHeader ? "the limit" : "the rest of the file", length));
  }
  std::string json(static_cast<size_t>(length), '\0');
  file.read(8, std::as_writable_bytes(std::span(json)));
  SafetensorsHeader header = parse_safetensors_header(json, shown);
  const Index data_begin = 8 + static_cast<Index>(length);
  check_safetensors_layout(header, file.size() - data_begin, shown);
  for (auto& [name, entry] : header.entries) {
    entry.begin += data_begin;
    entry.end += data_begin;
  }
  result.entries_ = std::move(header.entries);
  result.metadata_ = std::move(header.metadata);
  return result;
}

Tensor SafetensorsFile::load(const std::string& name, bool* rounded) const {
  const std::string what = fmt::format("{}: tensor '{}'", printable(path()), printable(name));
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    throw DataError(fmt::format("{}, expected in the file, found none of this name", what));
  }
  const SafetensorsEntry& entry = found->second;
  if (!entry.type || !is_floating(*entry.type)) {
    throw DataError(
        fmt::format("{} dtype, expected F64, F32, F16 or BF16, found {}", what, entry.dtype));
  }
  const std::array<Index, 4> shape = tensor_shape(entry.shape, what);
  std::vector<std::byte> bytes(static_cast<size_t>(entry.end - entry.begin));
  read(entry, 0, bytes);
  return make_tensor(*entry.type, bytes.data(), shape, what, rounded);
}

void SafetensorsFile::read(const SafetensorsEntry& entry, Index offset,
                           std::span<std::byte> target) const {
  file_.read(entry.begin + offset, target);
}

namespace {

void check_text(std::string_view what, std::string_view text) {
  const Index invalid = find_invalid_utf8(text);
  if (invalid >= 0) {
    throw DataError(fmt::format("{} '{}', expected UTF-8, found another byte at {}", what,
                                printable(text), invalid));
  }
}

void check_tensor(const SafetensorsTensor& tensor) {
  check_text("tensor", tensor.name);
  if (tensor.name.size() > kMaxSafetensorsName || tensor.name == "__metadata__") {
    throw DataError(fmt::format("tensor '{}', expected a name of at most {} bytes, found {}{}",
                                printable(tensor.name.substr(0, 80)), kMaxSafetensorsName,
                                tensor.name.size(),
                                tensor.name == "__metadata__" ? " (reserved)" : ""));
  }
  Index bytes = byte_size(tensor.type);
  for (Index length : tensor.shape) {
    if (length < 0 || __builtin_mul_overflow(bytes, length, &bytes)) bytes = -1;
    if (bytes < 0) break;
  }
  if (bytes != static_cast<Index>(tensor.bytes.size())) {
    throw DataError(fmt::format("tensor '{}', expected {} bytes for its shape, found {}",
                                printable(tensor.name), bytes, tensor.bytes.size()));
  }
}

}  // namespace

void write_safetensors(const std::string& path, std::vector<SafetensorsTensor> tensors,
                       const SafetensorsMetadata& metadata) {
  std::ranges::sort(tensors, [](const SafetensorsTensor& a, const SafetensorsTensor& b) {
    return std::pair(-byte_size(a.type), std::string_view(a.name)) <
           std::pair(-byte_size(b.type), std::string_view(b.name));
  });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) {
    auto& object = header["__metadata__"] = nlohmann::ordered_json::object();
    for (const auto& [key, value] : metadata) {
      check_text("metadata", key);
      check_text("metadata", value);
      object[key] = value;
    }
  }
  std::set<std::string_view> names;
  Index offset = 0;
  for (const SafetensorsTensor& tensor : tensors) {
    check_tensor(tensor);
    if (!names.insert(tensor.name).second) {
      throw DataError(
          fmt::format("tensor '{}', expected it once, found it twice", printable(tensor.name)));
    }
    const Index end = offset + static_cast<Index>(tensor.bytes.size());
    header[tensor.name] = {{"dtype", safetensors_dtype(tensor.type)},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  AtomicFile file(path);
  const auto length = static_cast<std::uint64_t>(text.size());
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(text);
  for (const SafetensorsTensor& tensor : tensors) file.write(tensor.bytes);
  file.commit();
}

}  // namespace longattn

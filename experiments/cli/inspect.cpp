#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/npy.h"
#include "core/io/safetensors.h"
#include "core/io/text.h"
#include "experiments/cli/commands.h"
#include "experiments/exit_codes.h"
#include "experiments/inputs/traces.h"

namespace longattn {
namespace {

using Json = nlohmann::ordered_json;

struct Summary {
  Index finite = 0, nan = 0, infinite = 0;
  double minimum = 0, maximum = 0;  // of the finite elements
};

struct Row {
  std::string name, dtype;
  std::vector<Index> shape;
  std::optional<Summary> summary;  // empty: the type can be listed, not read
};

struct Contents {
  std::string format;
  Index bytes = 0;
  bool fortran_order = false;
  SafetensorsMetadata metadata;
  std::vector<Index> layers;
  std::vector<Row> rows;
};

using ReadBytes = std::function<void(Index offset, std::span<std::byte> target)>;

// Reads in pieces, so that inspecting a large file takes little memory.
Summary summarise(ElementType type, Index count, const ReadBytes& read) {
  constexpr Index kPiece = 1 << 16;
  const Index size = byte_size(type);
  std::vector<std::byte> bytes(static_cast<size_t>(std::min(kPiece, count) * size));
  std::vector<double> values(static_cast<size_t>(std::min(kPiece, count)));
  Summary summary;
  for (Index first = 0; first < count; first += kPiece) {
    const auto length = static_cast<size_t>(std::min(kPiece, count - first));
    read(first * size, std::span(bytes).first(length * static_cast<size_t>(size)));
    load_doubles(type, bytes.data(), std::span(values).first(length));
    for (double value : std::span(values).first(length)) {
      if (std::isnan(value)) {
        ++summary.nan;
      } else if (std::isinf(value)) {
        ++summary.infinite;
      } else {
        summary.minimum = summary.finite == 0 ? value : std::min(summary.minimum, value);
        summary.maximum = summary.finite == 0 ? value : std::max(summary.maximum, value);
        ++summary.finite;
      }
    }
  }
  return summary;
}

Contents inspect_npy(const std::string& path) {
  const InputFile file(path);
  const NpyHeader header = read_npy_header(file);
  Contents contents;
  contents.format = "npy";
  contents.bytes = file.size();
  contents.fortran_order = header.fortran_order;
  const auto read = [&](Index offset, std::span<std::byte> target) {
    file.read(header.data_begin + offset, target);
  };
  contents.rows.push_back({"", std::string(to_string(header.type)), header.shape,
                           summarise(header.type, header.count, read)});
  return contents;
}

Contents inspect_safetensors(const std::string& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  Contents contents;
  contents.format = "safetensors";
  contents.bytes = file.file_size();
  contents.metadata = file.metadata();
  contents.layers = trace_layers(file);
  for (const auto& [name, entry] : file.entries()) {
    Row row{name, entry.dtype, entry.shape, {}};
    if (entry.type) {
      const Index count = (entry.end - entry.begin) / byte_size(*entry.type);
      row.summary = summarise(*entry.type, count,
                              [&, &entry = entry](Index offset, std::span<std::byte> target) {
                                file.read(entry, offset, target);
                              });
    }
    contents.rows.push_back(std::move(row));
  }
  return contents;
}

// The first bytes decide: those of .npy, read as the length of a .safetensors header, are far above
// its limit.
Contents inspect_file(const std::string& path) {
  const InputFile file(path);
  std::array<char, 6> magic{};
  file.read(0, std::as_writable_bytes(std::span(magic))
                   .first(static_cast<size_t>(std::min<Index>(6, file.size()))));
  const std::string_view start(magic.data(), magic.size());
  if (start.starts_with("\x93NUMPY")) return inspect_npy(path);
  if (path.ends_with(".npy")) return inspect_npy(path);  // says what is wrong with it
  if (start.starts_with("PK")) {
    throw DataError(
        fmt::format("{}: format, expected .npy or .safetensors, found a zip archive "
                    "(.npz or PyTorch's .pt: save the arrays as .npy)",
                    printable(path)));
  }
  return inspect_safetensors(path);
}

Json to_json(const std::string& path, const Contents& contents) {
  Json tensors = Json::array();
  for (const Row& row : contents.rows) {
    Json object = {{"name", row.name}, {"dtype", row.dtype}, {"shape", row.shape}};
    if (row.summary) {
      const Summary& s = *row.summary;
      object["min"] = s.finite > 0 ? Json(s.minimum) : Json(nullptr);
      object["max"] = s.finite > 0 ? Json(s.maximum) : Json(nullptr);
      object["nan"] = s.nan;
      object["infinite"] = s.infinite;
    }
    tensors.push_back(std::move(object));
  }
  Json result = {{"file", path}, {"format", contents.format}, {"bytes", contents.bytes}};
  if (contents.format == "npy") result["fortran_order"] = contents.fortran_order;
  if (contents.format == "safetensors") {
    result["metadata"] = contents.metadata;
    result["layers"] = contents.layers;
  }
  result["tensors"] = std::move(tensors);
  return result;
}

std::string shape_text(const std::vector<Index>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

std::string values_text(const Row& row) {
  if (!row.summary) return "(type not read)";
  const Summary& s = *row.summary;
  std::string text = s.finite > 0 ? fmt::format("{:.6g} .. {:.6g}", s.minimum, s.maximum)
                                  : std::string("no finite value");
  if (s.nan > 0) text += fmt::format(", {} NaN", s.nan);
  if (s.infinite > 0) text += fmt::format(", {} infinite", s.infinite);
  return text;
}

void print(const std::string& path, const Contents& contents) {
  fmt::print("{}: {}, {} bytes{}\n", printable(path), contents.format, contents.bytes,
             contents.fortran_order ? ", Fortran order" : "");
  for (const auto& [key, value] : contents.metadata) {
    const std::string shown = printable(value);
    fmt::print("  metadata {} = {}{}\n", printable(key), shown.substr(0, 200),
               shown.size() > 200 ? "..." : "");
  }
  if (!contents.layers.empty()) {
    fmt::print("  a trace: --layer {}\n", fmt::join(contents.layers, ", "));
  }
  size_t name_width = 0, shape_width = 0;
  for (const Row& row : contents.rows) {
    name_width = std::max(name_width, printable(row.name).size());
    shape_width = std::max(shape_width, shape_text(row.shape).size());
  }
  for (const Row& row : contents.rows) {
    if (name_width > 0) fmt::print("  {:<{}}", printable(row.name), name_width);
    fmt::print("  {:<8}  {:<{}}  {}\n", row.dtype, shape_text(row.shape), shape_width,
               values_text(row));
  }
}

int inspect(const std::string& path, bool as_json) {
  const Contents contents = inspect_file(path);
  if (as_json) {
    // A path need not be UTF-8: replace rather than fail.
    fmt::print("{}\n", to_json(path, contents).dump(2, ' ', false, Json::error_handler_t::replace));
  } else {
    print(path, contents);
  }
  return kExitOk;
}

}  // namespace

void add_inspect(CLI::App& app, const Invocation&, Action& chosen) {
  struct Flags {
    std::string path;
    bool json = false;
  };
  const auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("inspect", "Shows what a .npy or .safetensors file holds");
  command->add_option("file", flags->path, "The file")->required()->type_name("FILE");
  command->add_flag("--json", flags->json, "One JSON object instead of a table");
  command->footer(R"(
Prints name, element type, shape, smallest and largest finite value, and how many values are NaN or
infinite; for .safetensors also the metadata and, if the file is a trace, its layers. The whole file
is checked on the way: a malformed one ends with one line and exit code 65.

Example:
  longattn inspect configs/traces/kjv.safetensors)");
  command->callback(
      [&chosen, flags] { chosen = [flags] { return inspect(flags->path, flags->json); }; });
}

}  // namespace longattn

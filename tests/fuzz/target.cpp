// One fuzz target, named by LONGATTN_FUZZ_TARGET: libFuzzer hands over bytes, which become a file,
// which is read as the program reads it. Whatever is neither success nor a well-formed Error ends
// the process.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "experiments/journal.h"
#include "tests/fuzz/readers.h"
#include "tests/temporary_folder.h"
#include "variants/registry.h"

namespace longattn {
namespace {

const TemporaryFolder& folder() {
  static const TemporaryFolder made;
  return made;
}

std::string write(std::string_view name, std::string_view bytes) {
  const std::string path = folder() / name;
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

// Lines without a checksum get one, so that what is behind the checksum is reached.
std::string sealed(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    const auto record = nlohmann::json::parse(line, nullptr, false);
    if (record.is_object() && !record.contains("crc")) {
      result += journal_line(record);
    } else {
      result += std::string(line) + (end == std::string_view::npos ? "" : "\n");
    }
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return result;
}

// A config to change, and each line an argument of --set.
void take_arguments(std::string_view bytes) {
  static const std::string config =
      write("base.yaml",
            "longattn: 1\nname: base\ninputs: [gaussian: {temperature: 1}]\nthreads: 1\n"
            "problem: {lengths: [16, 32], num_heads: 2}\nwhere: length <= 32\n"
            "variants: [full, longformer: {window: 2}, bigbird: {sweep: {block_size: [2, 4]}}]\n");
  std::vector<std::string> arguments;
  while (!bytes.empty()) {
    const size_t end = std::min(bytes.find('\n'), bytes.size());
    // A program's argument ends at its first zero.
    arguments.push_back(std::string(bytes.substr(0, end)).c_str());
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
  }
  take_config(config, builtin_variants(), arguments);
}

// Reads one input; returns what is wrong with its refusal.
std::string take(std::string_view target, std::string_view bytes) {
  if (target == "npy" || target == "safetensors") {
    const std::string path = write("input", bytes);
    try {
      target == "npy" ? take_npy(path) : take_safetensors(path);
    } catch (const Error& error) {
      return objection_to_data_error(error, path + ": ");
    }
  } else if (target == "config") {
    const std::string path = write("input.yaml", bytes);
    try {
      take_config(path, builtin_variants());
    } catch (const Error& error) {
      return objection_to_config_error(error, path);
    }
  } else if (target == "set") {
    try {
      take_arguments(bytes);
    } catch (const Error& error) {
      return objection_to_config_error(error, "");
    }
  } else if (target == "journal") {
    const std::string path = write("journal.jsonl", sealed(bytes));
    try {
      take_run_folder(folder().path());
    } catch (const Error& error) {
      return objection_to_data_error(error, path + ":");
    }
  } else {
    return "no target of this name";
  }
  return "";
}

}  // namespace
}  // namespace longattn

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string objection = longattn::take(LONGATTN_FUZZ_TARGET, bytes);
  if (objection.empty()) return 0;
  std::fprintf(stderr, "%s: %s\n", LONGATTN_FUZZ_TARGET, objection.c_str());
  std::abort();
}

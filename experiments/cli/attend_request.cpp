#include "experiments/cli/attend_request.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <thread>

#include "core/error.h"
#include "core/io/npy.h"
#include "core/io/text.h"

namespace longattn {
namespace {

// Numbers on the command line follow the rules of options: no locale, no 0x10, no trailing text.
Option flag(const char* name, OptionType type, double minimum, double maximum = 9e18) {
  Option option;
  option.name = name;
  option.type = type;
  option.minimum = minimum;
  option.maximum = maximum;
  return option;
}

Index integer_flag(const Option& option, const std::string& text) {
  return std::get<Index>(parse_option(option, text));
}

std::vector<Index> integers_flag(const Option& option, const std::string& text) {
  const std::string list = text.starts_with('[') ? text : "[" + text + "]";
  return std::get<std::vector<Index>>(parse_option(option, list));
}

Options read_options(const AttendFlags& flags, const Variant& variant) {
  std::vector<std::pair<std::string, std::string>> given;
  for (const std::string& assignment : flags.set) {
    const size_t equals = assignment.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw OptionError(fmt::format("--set is '{}', expected name=value", printable(assignment)));
    }
    given.emplace_back(assignment.substr(0, equals), assignment.substr(equals + 1));
  }
  if (!flags.seed.empty()) {
    const auto is_seed = [](const Option& option) { return option.name == "seed"; };
    if (std::ranges::none_of(variant.options, is_seed)) {
      throw OptionError(
          fmt::format("--seed: {} has no option 'seed': nothing in it is random", variant.name));
    }
    given.emplace_back("seed", flags.seed);
  }
  try {
    return Options(variant.options, given);
  } catch (const OptionError& error) {
    throw OptionError(fmt::format("{}: {}", variant.name, error.what()));
  }
}

struct NpySource {
  std::string_view flag, name;  // name: of the extra tensor
  const std::string AttendFlags::*path;
};
constexpr std::array<NpySource, 3> kGlobals = {{
    {"--global-queries", "global_queries", &AttendFlags::global_queries},
    {"--global-keys", "global_keys", &AttendFlags::global_keys},
    {"--global-values", "global_values", &AttendFlags::global_values},
}};

void check_sources(const AttendFlags& flags) {
  const bool trace = !flags.input.empty();
  for (const auto& [name, path] :
       {std::pair("--queries", &flags.queries), std::pair("--keys", &flags.keys),
        std::pair("--values", &flags.values)}) {
    if (trace && !path->empty()) {
      throw OptionError(fmt::format("{} beside --input: give one of them", name));
    }
    if (!trace && path->empty()) {
      throw OptionError(fmt::format(
          "{} is missing: give --queries, --keys and --values, or --input and --layer", name));
    }
  }
}

class RoundingNote {
 public:
  // Where read functions report that they rounded the tensor called `name`.
  Tensor read(const std::string& path, int* axes = nullptr) {
    bool rounded = false;
    const NpyArray array = read_npy(path);
    Tensor tensor = to_tensor(array, path, &rounded);
    if (axes != nullptr) *axes = static_cast<int>(array.shape.size());
    if (rounded) names_.push_back(printable(path));
    return tensor;
  }
  void add(const std::string& path) { names_.push_back(printable(path)); }
  std::vector<std::string> notes() const {
    if (names_.empty()) return {};
    return {fmt::format("float64 rounded to float32: {}", fmt::join(names_, ", "))};
  }

 private:
  std::vector<std::string> names_;
};

void read_npy_tensors(const AttendFlags& flags, AttendRequest& request, RoundingNote& note) {
  request.queries = note.read(flags.queries, &request.axes);
  request.keys = note.read(flags.keys);
  request.values = note.read(flags.values);
}

void read_trace_tensors(const AttendFlags& flags, AttendRequest& request, RoundingNote& note) {
  const Option layer = flag("--layer", OptionType::integer, 0);
  Trace trace = read_trace(flags.input, integer_flag(layer, flags.layer));
  if (trace.rounded) note.add(flags.input);
  request.queries = std::move(trace.queries);
  request.keys = std::move(trace.keys);
  request.values = std::move(trace.values);
  request.axes = trace.axes;
  request.problem.scale = trace.scale;
  request.problem.mask.causal = trace.causal.value_or(false);
  // A trace may hold tensors for other variants: only what this one declares is taken.
  for (OwnedTensor& extra : trace.extra) {
    const auto declared = [&](const ExtraTensor& tensor) { return tensor.name == extra.name; };
    if (std::ranges::any_of(request.variant->extra, declared)) {
      request.extra.push_back(std::move(extra));
    }
  }
}

void read_global_tensors(const AttendFlags& flags, AttendRequest& request, RoundingNote& note) {
  for (const NpySource& source : kGlobals) {
    const std::string& path = flags.*source.path;
    if (path.empty()) continue;
    std::erase_if(request.extra, [&](const OwnedTensor& t) { return t.name == source.name; });
    request.extra.push_back({std::string(source.name), note.read(path)});
  }
  // check_extra names what is missing; the order is the declared one, because Rows::value_source
  // counts in it.
  const auto rank = [&](const OwnedTensor& tensor) {
    const auto& declared = request.variant->extra;
    return std::ranges::find(declared, tensor.name, &ExtraTensor::name) - declared.begin();
  };
  std::ranges::stable_sort(request.extra, {}, rank);
}

void read_problem(const AttendFlags& flags, AttendRequest& request) {
  std::vector<Tensor*> all = {&request.queries, &request.keys, &request.values};
  for (OwnedTensor& extra : request.extra) all.push_back(&extra.tensor);
  store_alike(all);
  const Problem defaults = request.problem;  // of the trace's metadata
  request.problem = problem_of(request.queries, request.keys, request.values);
  request.problem.mask.causal = flags.causal.value_or(defaults.mask.causal);
  request.problem.scale = defaults.scale;
  if (!flags.scale.empty()) {
    request.problem.scale = std::get<double>(
        parse_option(flag("--scale", OptionType::number, -1e38, 1e38), flags.scale));
  }
  if (!flags.key_lengths.empty()) {
    request.problem.mask.key_lengths =
        integers_flag(flag("--key-lengths", OptionType::integers, 0), flags.key_lengths);
  }
  validate(request.problem);
}

std::vector<Index> read_rows(const AttendFlags& flags, Index query_len) {
  std::vector<Index> rows;
  if (flags.weights.empty()) {
    if (!flags.rows.empty())
      throw OptionError("--rows without --weights: nothing would be written");
    return rows;
  }
  if (flags.rows.empty()) {
    rows.resize(static_cast<size_t>(query_len));
    std::iota(rows.begin(), rows.end(), Index{0});
    return rows;
  }
  rows = integers_flag(flag("--rows", OptionType::integers, 0), flags.rows);
  for (Index row : rows) {
    if (row >= query_len) {
      throw OptionError(
          fmt::format("--rows: {} is not a query row; query_len is {}, so rows are "
                      "0..{}",
                      row, query_len, query_len - 1));
    }
  }
  return rows;
}

}  // namespace

AttendRequest read_request(const AttendFlags& flags, const std::vector<const Variant*>& variants) {
  AttendRequest request;
  request.variant = &require_variant(variants, flags.variant);
  request.options = read_options(flags, *request.variant);
  check_sources(flags);
  const auto cores = static_cast<Index>(std::max(1u, std::thread::hardware_concurrency()));
  request.threads = static_cast<int>(
      flags.threads.empty()
          ? cores
          : integer_flag(flag("--threads", OptionType::integer, 1, 1024), flags.threads));
  RoundingNote note;
  if (flags.input.empty()) {
    read_npy_tensors(flags, request, note);
  } else {
    read_trace_tensors(flags, request, note);
  }
  read_global_tensors(flags, request, note);
  read_problem(flags, request);
  request.rows = read_rows(flags, request.problem.query_len);
  request.notes = note.notes();
  return request;
}

std::vector<Index> shape_with_axes(const std::array<Index, 4>& shape, int axes) {
  return {shape.end() - axes, shape.end()};
}

}  // namespace longattn

#include "experiments/plan.h"

#include <fmt/format.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/io/file.h"
#include "experiments/measure/rank_worker.h"
#include "experiments/report/text.h"
#include "experiments/serialize.h"

namespace longattn {
namespace {

std::string hex(XXH64_hash_t hash) { return fmt::format("{:016x}", hash); }

std::string hash_text(std::string_view text) { return hex(XXH3_64bits(text.data(), text.size())); }

// Of a trace: its bytes, read once, in pieces.
std::string hash_file(const std::string& path) {
  const InputFile file(path);
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  std::vector<std::byte> buffer(1 << 20);
  for (Index offset = 0; offset < file.size();) {
    const Index count = std::min(static_cast<Index>(buffer.size()), file.size() - offset);
    const std::span<std::byte> piece(buffer.data(), static_cast<size_t>(count));
    file.read(offset, piece);
    XXH3_64bits_update(&state, piece.data(), piece.size());
    offset += count;
  }
  return hex(XXH3_64bits_digest(&state));
}

std::string file_hash(const std::string& path, std::map<std::string, std::string>& files) {
  const auto [found, fresh] = files.try_emplace(path);
  if (fresh) found->second = hash_file(path);
  return found->second;
}

std::string input_hash(const InputSpec& input, std::map<std::string, std::string>& files) {
  if (!input.is_trace()) {
    return hash_text(nlohmann::json{input.generator, input.options}.dump());
  }
  return hash_text(fmt::format("{} layer {}", file_hash(input.path, files), input.layer));
}

// Everything that determines the numbers, and nothing else: not the label, not a file's name.
std::string cell_id(Cell cell, const VariantRequest& request, std::uint64_t seed,
                    std::map<std::string, std::string>& files) {
  for (auto& [name, value] : cell.options) {
    const auto option = std::ranges::find(request.variant->options, name, &Option::name);
    if (names_file(*option, request.options.value(name))) value = file_hash(value, files);
  }
  nlohmann::json text = to_json(cell);
  text["input"] = cell.input_hash;
  text["problem"]["scale"] = cell.problem.effective_scale();
  text["seed"] = seed;
  text.erase("id");
  text.erase("remark");
  return hash_text(text.dump());
}

double tensors_bytes(const Problem& p) {
  const auto size = [&](Index heads, Index len, Index dim) {
    return static_cast<double>(p.batch * heads * len) * static_cast<double>(dim);
  };
  const double inputs = size(p.num_heads, p.query_len, p.head_dim) +
                        size(p.num_kv_heads, p.key_len, p.head_dim + p.value_dim);
  return inputs * static_cast<double>(byte_size(p.dtype)) +
         4 * size(p.num_heads, p.query_len, p.value_dim);
}

// Of one process, where ranks are processes: shards differ by a token or two.
std::string memory_excess(const PlannedCell& planned, double limit) {
  const int processes = std::max(1, process_count(planned.cell));
  const double needed = planned.needed_bytes() / processes;
  if (needed <= limit) return "";
  const Cost& cost = *planned.cost;
  const std::string held =
      cost.held_bytes > 0 ? fmt::format(" + its own {}", bytes(cost.held_bytes / processes)) : "";
  return fmt::format("needs {} (workspace {}{} + tensors {}){}, limit {}", bytes(needed),
                     bytes(cost.workspace_bytes / processes), held,
                     bytes(planned.tensors_bytes / processes), processes > 1 ? " a rank" : "",
                     bytes(limit));
}

PlannedCell plan_cell(const ProblemRequest& request, const VariantRequest& variant, int threads,
                      const Limits& limits) {
  PlannedCell planned;
  planned.variant = variant.variant;
  planned.options = variant.options;
  planned.cell.input = request.input;
  planned.cell.variant = variant.variant->name;
  planned.cell.problem = request.problem;
  planned.cell.threads = threads;
  for (const auto& [name, value] : variant.options.all()) {
    planned.cell.options.emplace_back(name, to_text(value));
  }
  planned.cell.remark = remark_of(*variant.variant, variant.options);
  planned.growth = variant.variant->growth(variant.options);
  planned.unsupported = variant.variant->unsupported(request.problem, variant.options);
  if (!planned.unsupported.empty()) return planned;
  planned.traits = variant.variant->traits(request.problem, variant.options);
  const auto attention = make_attention(*variant.variant, request.problem, variant.options);
  planned.cost = attention->cost(threads);
  planned.figures = attention->figures();
  planned.tensors_bytes = tensors_bytes(request.problem);
  planned.skipped = memory_excess(planned, limits.memory_bytes);
  return planned;
}

}  // namespace

std::string content_hash(const InputSpec& input) {
  std::map<std::string, std::string> files;
  return input_hash(input, files);
}

void identify(Cell& cell, const VariantRequest& request, std::uint64_t seed,
              std::map<std::string, std::string>& files) {
  cell.input_hash = input_hash(cell.input, files);
  cell.id = cell_id(cell, request, seed, files);
}

std::vector<PlannedCell> make_plan(const Experiment& experiment) {
  std::vector<PlannedCell> plan;
  std::map<std::string, std::string> files;
  for (const auto& [problem, variant, threads] : experiment.cells) {
    PlannedCell planned = plan_cell(experiment.problems[problem], experiment.variants[variant],
                                    threads, experiment.limits);
    identify(planned.cell, experiment.variants[variant], experiment.seed, files);
    plan.push_back(std::move(planned));
  }
  return plan;
}

}  // namespace longattn

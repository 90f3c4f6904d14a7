#include "experiments/report/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "experiments/report/text.h"

namespace longattn {
namespace {

std::string heads_text(const Problem& problem) {
  std::string text = fmt::format("{} head{}", problem.num_heads, problem.num_heads == 1 ? "" : "s");
  if (problem.num_kv_heads != problem.num_heads) {
    text += fmt::format(" over {} kv head{}", problem.num_kv_heads,
                        problem.num_kv_heads == 1 ? "" : "s");
  }
  return text;
}

}  // namespace

std::string problem_text(const Cell& cell) {
  const Problem& problem = cell.problem;
  std::string text = heads_text(problem) + fmt::format(", head_dim {}", problem.head_dim);
  if (problem.value_dim != problem.head_dim) {
    text += fmt::format(", value_dim {}", problem.value_dim);
  }
  if (problem.batch != 1) text += fmt::format(", batch {}", problem.batch);
  if (problem.query_len != problem.key_len) {
    text += fmt::format(", query_len {}", problem.query_len);
  }
  text += problem.mask.causal ? ", causal" : ", not causal";
  if (!problem.mask.key_lengths.empty()) text += ", padded";
  if (!problem.mask.document_ids.empty()) text += ", documents";
  if (!problem.mask.alibi_slopes.empty()) text += ", ALiBi";
  if (problem.scale) text += ", scale " + exact(*problem.scale);
  return text + fmt::format(", {}, {} thread{}", to_string(problem.dtype), cell.threads,
                            cell.threads == 1 ? "" : "s");
}

namespace {

Block& find_block(std::vector<Block>& blocks, const RunResults& results, const Cell& cell) {
  const std::string input = one_line(cell.input.label), problem = problem_text(cell);
  for (Block& block : blocks) {
    if (std::tie(block.input, block.problem) == std::tie(input, problem)) return block;
  }
  return blocks.emplace_back(Block{input,
                                   problem,
                                   {},
                                   {},
                                   results.time_limit_s,
                                   results.memory_limit_bytes,
                                   results.error_budget,
                                   {}});
}

Series& find_series(Block& block, const std::string& label, const Cell& cell) {
  for (Series& series : block.series) {
    if (series.label == label && series.variant == cell.variant) return series;
  }
  return block.series.emplace_back(Series{label, cell.variant, 0, 0, 0, {}});
}

// Which labels and variants there are, in order of appearance, over all blocks.
class Numbering {
 public:
  void number(Series& series) {
    auto& settings = settings_[series.variant];
    series.number = place(labels_, series.variant + "\n" + series.label) + 1;
    series.setting = place(settings, series.label);
    // full and the null baselines have colours of their own.
    const bool own = series.variant == "full" || is_null_baseline(series.variant);
    series.hue = own ? 0 : place(hues_, series.variant);
  }

 private:
  static size_t place(std::vector<std::string>& list, const std::string& text) {
    const auto found = std::ranges::find(list, text);
    const auto at = static_cast<size_t>(found - list.begin());
    if (found == list.end()) list.push_back(text);
    return at;
  }
  std::vector<std::string> labels_, hues_;
  std::map<std::string, std::vector<std::string>> settings_;
};

// An input is measured once for all numbers of threads.
void find_inputs(const RunResults& results, Block& block) {
  for (const InputResult& input : results.inputs) {
    const auto found = std::ranges::find(results.cells, input.cell_id,
                                         [](const CellResult& r) { return r.cell.id; });
    if (found == results.cells.end()) continue;
    Cell cell = found->cell;
    cell.threads = block.series.front().cells.front()->cell.threads;
    if (one_line(cell.input.label) == block.input && problem_text(cell) == block.problem) {
      block.inputs.emplace_back(cell.problem.key_len, &input);
    }
  }
}

}  // namespace

std::vector<Block> arrange(const RunResults& results) {
  std::vector<Block> blocks;
  Numbering numbering;
  for (const CellResult& result : results.cells) {
    const std::string label = one_line(short_label(result.cell, results.cells));
    Block& block = find_block(blocks, results, result.cell);
    Series& series = find_series(block, label, result.cell);
    if (series.cells.empty()) numbering.number(series);
    series.cells.push_back(&result);
    block.lengths.push_back(result.cell.problem.key_len);
  }
  const auto length = [](const CellResult* result) { return result->cell.problem.key_len; };
  for (Block& block : blocks) {
    for (Series& series : block.series) std::ranges::stable_sort(series.cells, {}, length);
    std::ranges::sort(block.lengths);
    block.lengths.erase(std::unique(block.lengths.begin(), block.lengths.end()),
                        block.lengths.end());
    find_inputs(results, block);
  }
  return blocks;
}

const InputResult* input_at(const Block& block, Index length) {
  for (const auto& [at, input] : block.inputs) {
    if (at == length) return input;
  }
  return nullptr;
}

const CellResult* at_length(const Series& series, Index length) {
  for (const CellResult* result : series.cells) {
    if (result->cell.problem.key_len == length) return result;
  }
  return nullptr;
}

const CellResult* baseline(const Block& block, Index length) {
  const Series* full = find_series(block, "full");
  const CellResult* result = full == nullptr ? nullptr : at_length(*full, length);
  return result != nullptr && result->time_s ? result : nullptr;
}

std::optional<Estimate> speed_against_full(const Block& block, const CellResult& result) {
  const CellResult* full = baseline(block, result.cell.problem.key_len);
  if (full == nullptr || !result.time_s || !(result.time_s->low > 0)) return std::nullopt;
  if (full == &result) return Estimate{1, 1, 1};
  return Estimate{full->time_s->value / result.time_s->value,
                  full->time_s->low / result.time_s->high, full->time_s->high / result.time_s->low};
}

const Series* find_series(const Block& block, std::string_view variant) {
  const auto found = std::ranges::find(block.series, variant, &Series::variant);
  return found == block.series.end() ? nullptr : &*found;
}

bool is_null_baseline(std::string_view variant) {
  return variant == "mean_value" || variant == "zero";
}

std::string failure_text(const CellResult& result) {
  std::string text(to_string(result.status));
  if (!result.reason.empty()) text += ": " + one_line(result.reason);
  return text;
}

}  // namespace longattn

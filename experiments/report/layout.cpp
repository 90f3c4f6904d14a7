#include "experiments/report/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "experiments/report/text.h"

namespace longattn {
namespace {

Index length_of(const CellResult* result) { return result->cell.problem.key_len; }

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

using BlockKey = std::pair<std::string, std::string>;  // input and problem

// The blocks under construction, and where the cells of each belong.
struct Arrangement {
  std::vector<Block> blocks;
  std::map<BlockKey, size_t> places;
  std::map<std::tuple<size_t, std::string, std::string>, size_t> series;  // block, variant, label

  Block& block_of(const RunResults& results, const Cell& cell) {
    const BlockKey key = {one_line(cell.input.label), problem_text(cell)};
    const auto [at, fresh] = places.try_emplace(key, blocks.size());
    if (!fresh) return blocks[at->second];
    return blocks.emplace_back(Block{key.first,
                                     key.second,
                                     {},
                                     {},
                                     results.time_limit_s,
                                     results.memory_limit_bytes,
                                     results.error_budget,
                                     {}});
  }
  Series& series_of(Block& block, const std::string& label, const Cell& cell) {
    const auto number = static_cast<size_t>(&block - blocks.data());
    const auto [at, fresh] = series.try_emplace({number, cell.variant, label}, block.series.size());
    if (!fresh) return block.series[at->second];
    return block.series.emplace_back(Series{label, cell.variant, 0, 0, 0, {}});
  }
};

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
  using Places = std::map<std::string, size_t>;
  static size_t place(Places& places, const std::string& text) {
    return places.try_emplace(text, places.size()).first->second;
  }
  Places labels_, hues_;
  std::map<std::string, Places> settings_;
};

// An input is measured once for all numbers of threads.
void find_inputs(const RunResults& results, Arrangement& arranged) {
  std::set<int> threads;
  for (const CellResult& result : results.cells) threads.insert(result.cell.threads);
  for (const InputResult& input : results.inputs) {
    const CellResult* found = results.find(input.cell_id);
    if (found == nullptr) continue;
    Cell cell = found->cell;
    for (const int count : threads) {
      cell.threads = count;
      const auto at = arranged.places.find({one_line(cell.input.label), problem_text(cell)});
      if (at == arranged.places.end()) continue;
      arranged.blocks[at->second].inputs.emplace_back(cell.problem.key_len, &input);
    }
  }
}

}  // namespace

std::vector<Block> arrange(const RunResults& results) {
  Arrangement arranged;
  Numbering numbering;
  const ShortLabels labels(results.cells);
  for (const CellResult& result : results.cells) {
    Block& block = arranged.block_of(results, result.cell);
    Series& series = arranged.series_of(block, one_line(labels.of(result.cell)), result.cell);
    if (series.cells.empty()) numbering.number(series);
    series.cells.push_back(&result);
    block.lengths.push_back(length_of(&result));
  }
  for (Block& block : arranged.blocks) {
    for (Series& series : block.series) std::ranges::stable_sort(series.cells, {}, length_of);
    std::ranges::sort(block.lengths);
    block.lengths.erase(std::unique(block.lengths.begin(), block.lengths.end()),
                        block.lengths.end());
  }
  find_inputs(results, arranged);
  return std::move(arranged.blocks);
}

const InputResult* input_at(const Block& block, Index length) {
  for (const auto& [at, input] : block.inputs) {
    if (at == length) return input;
  }
  return nullptr;
}

const CellResult* at_length(const Series& series, Index length) {
  const auto found = std::ranges::lower_bound(series.cells, length, {}, length_of);
  return found != series.cells.end() && length_of(*found) == length ? *found : nullptr;
}

const CellResult* baseline(const Block& block, Index length) {
  const Series* full = find_series(whole(block), "full");
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

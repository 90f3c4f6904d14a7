#pragma once

#include <string>
#include <vector>

#include "experiments/cell.h"

namespace longattn {

/// The cells of one variant with one set of options, by length.
struct Series {
  std::string label;  ///< of ShortLabels, one line of text
  std::string variant;
  // The same in every block.
  size_t number = 0;                     ///< from 1; stands at its curves
  size_t hue = 0;                        ///< of its variant
  size_t setting = 0;                    ///< among those of its variant
  std::vector<const CellResult*> cells;  ///< ascending length
  const Series* whole = nullptr;         ///< of a part (page_part.h): all of it
};

/// What is compared with each other: cells on the same input that differ only in variant, options
/// and length. Length is key_len; query_len is equal to it, or the same in all cells of the block.
struct Block {
  std::string input;    ///< its label, one line of text
  std::string problem;  ///< "8 heads, head_dim 64, causal, float32, 2 threads"
  std::vector<Series> series;
  std::vector<Index> lengths;  ///< ascending
  std::optional<double> time_limit_s, memory_limit_bytes;
  double error_budget = 0.01;
  std::vector<std::pair<Index, const InputResult*>> inputs;  ///< by length, where it was measured
  const Block* whole = nullptr;                              ///< of a part: all of it

  Index longest() const { return lengths.back(); }
};

// Judgements are of all that was measured, also where a part of it is shown.
inline const Block& whole(const Block& block) {
  return block.whole == nullptr ? block : *block.whole;
}
inline const Series& whole(const Series& series) {
  return series.whole == nullptr ? series : *series.whole;
}

/// Everything that the cells of a block share, except the input: Block::problem.
std::string problem_text(const Cell& cell);

/// The cells in plan order, arranged for reading. Points into `results`.
std::vector<Block> arrange(const RunResults& results);

/// What full attention does on the block's input at a length, or nullptr.
const InputResult* input_at(const Block& block, Index length);
/// The cell of a series at a length, or nullptr.
const CellResult* at_length(const Series& series, Index length);
/// The cell of `full` at a length that has a time, or nullptr.
const CellResult* baseline(const Block& block, Index length);
/// Time of `full` over time of this cell, with the interval of the quotient of two intervals (a
/// cautious one); nothing where either was not measured.
std::optional<Estimate> speed_against_full(const Block& block, const CellResult& result);
/// The first series of a variant, or nullptr.
const Series* find_series(const Block& block, std::string_view variant);

/// What looks at no key: `mean_value` and `zero`. Their errors are there to read others against.
bool is_null_baseline(std::string_view variant);
/// "timeout: after 60 s, killed", one line of text.
std::string failure_text(const CellResult& result);

}  // namespace longattn

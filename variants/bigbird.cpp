#include "variants/bigbird.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "core/block_pattern.h"
#include "core/random.h"
#include "core/softmax_definition.h"

namespace longattn {
namespace {

struct Blocks {
  Blocks(const Problem& p, const Options& options)
      : size(options.integer("block_size")),
        count(BlockPattern::count_blocks(p.key_len, size)),
        side((options.integer("window_blocks") - 1) / 2),
        globals(options.integer("global_blocks")),
        randoms(options.integer("random_blocks")),
        seed(static_cast<std::uint64_t>(options.integer("seed"))) {}

  bool is_global(Index block) const {
    return block < globals - globals / 2 || block >= count - globals / 2;
  }
  bool in_window(Index row, Index column) const { return std::abs(row - column) <= side; }
  bool fixed(Index row, Index column) const {
    return is_global(row) || is_global(column) || in_window(row, column);
  }
  // Blocks that window and globals leave out of a row.
  Index left_out(Index row) const {
    if (is_global(row)) return 0;
    const Index first = globals - globals / 2,
                last = count - globals / 2;  // columns between globals
    const Index begin = std::max(first, row - side), end = std::min(last, row + side + 1);
    return (last - first) - std::max<Index>(end - begin, 0);
  }
  bool shows_everything() const {
    for (Index row = 0; row < count; ++row) {
      if (left_out(row) > randoms) return false;
    }
    return true;
  }

  Index size, count, side, globals, randoms;
  std::uint64_t seed;
};

// The random blocks of one row: a discrete choice, the same for definition and forward.
std::vector<Index> draw_blocks(const Blocks& blocks, Index head, Index row) {
  const CounterRandom random(blocks.seed, make_stream(static_cast<std::uint64_t>(head), 0,
                                                      static_cast<std::uint64_t>(row)));
  std::vector<Index> drawn;
  const auto wanted = static_cast<size_t>(std::min(blocks.randoms, blocks.left_out(row)));
  for (Index n = 0; drawn.size() < wanted; ++n) {
    const Index block = permuted(random, blocks.count, n);
    if (!blocks.fixed(row, block)) drawn.push_back(block);
  }
  return drawn;
}

std::vector<BlockPattern::Run> runs_of_row(const Blocks& blocks, Index head, Index row) {
  if (blocks.is_global(row) || blocks.left_out(row) <= blocks.randoms) return {{0, blocks.count}};
  std::vector<BlockPattern::Run> runs = {{0, blocks.globals - blocks.globals / 2},
                                         {blocks.count - blocks.globals / 2, blocks.count},
                                         {row - blocks.side, row + blocks.side + 1}};
  for (Index block : draw_blocks(blocks, head, row)) runs.push_back({block, block + 1});
  return runs;
}

BlockPattern make_pattern(const Problem& p, const Blocks& blocks) {
  BlockPattern pattern(p, blocks.size);
  for (Index head = 0; head < (blocks.randoms > 0 ? p.num_heads : 1); ++head) {
    for (Index row = 0; row < blocks.count; ++row) {
      pattern.add_row(runs_of_row(blocks, head, row));
    }
  }
  return pattern;
}

class Bigbird final : public BlockPatternAttention {
 public:
  Bigbird(const Problem& p, const Options& options)
      : BlockPatternAttention(p, make_pattern(p, Blocks(p, options))), blocks_(p, options) {}

  std::unique_ptr<Definition> definition(const Inputs& inputs, Index batch_entry,
                                         Index head) const override {
    std::vector<std::vector<Index>> drawn;  // by row
    for (Index row = 0; row < blocks_.count; ++row) {
      drawn.push_back(draw_blocks(blocks_, head, row));
    }
    return softmax_definition(
        problem(), inputs, batch_entry, head,
        [this, drawn = std::move(drawn)](Index query, Index key) {
          const Index row = std::max<Index>(problem().position(query), 0) / blocks_.size;
          const Index column = key / blocks_.size;
          if (blocks_.fixed(row, column)) return true;
          return std::ranges::count(drawn[static_cast<size_t>(row)], column) > 0;
        });
  }

 private:
  const Blocks blocks_;
};

}  // namespace

const Variant kBigbird = {
    .name = "bigbird",
    .summary = "window, global and random blocks",
    .paper = "Zaheer et al. 2020, Big Bird: Transformers for Longer Sequences, section 2",
    .options = {{.name = "block_size",
                 .type = OptionType::integer,
                 .default_value = Index{64},
                 .doc = "tokens in a block",
                 .minimum = 1,
                 .maximum = 0x1p40},
                {.name = "window_blocks",
                 .type = OptionType::integer,
                 .default_value = Index{3},
                 .doc = "blocks of the window: both sides and the block itself; odd",
                 .minimum = 1,
                 .maximum = 0x1p40 - 1,
                 .nested = true},
                {.name = "global_blocks",
                 .type = OptionType::integer,
                 .default_value = Index{2},
                 .doc =
                     "blocks that see and are seen by all: first, last, second, last but one, ..",
                 .minimum = 0,
                 .maximum = 0x1p40,
                 .nested = true},
                {.name = "random_blocks",
                 .type = OptionType::integer,
                 .default_value = Index{3},
                 .doc = "random blocks of each block row, beside window and global ones",
                 .minimum = 0,
                 .maximum = 0x1p40,
                 .nested = true},
                {.name = "seed",
                 .type = OptionType::integer,
                 .default_value = Index{0},
                 .doc = "seed of the random blocks",
                 .minimum = 0,
                 .maximum = 0x1p53}},
    .extra = {},
    .unsupported = [](const Problem&, const Options& options) -> std::string {
      const Index window = options.integer("window_blocks");
      if (window % 2 == 1) return "";
      return fmt::format(
          "window_blocks {} is even, but it counts both sides and the block itself: {} or {}",
          window, window - 1, window + 1);
    },
    .traits =
        [](const Problem& p, const Options& options) {
          const Blocks blocks(p, options);
          const bool exact = blocks.shows_everything();
          return Traits{.exact = exact,
                        .heads_alike = exact || blocks.randoms == 0,
                        .prefix_stable = blocks.randoms == 0 && blocks.globals <= 1};
        },
    .growth = [](const Options&) { return Growth{.time = 1, .memory = 1}; },
    .make = [](const Problem& problem, const Options& options) -> std::unique_ptr<const Attention> {
      return std::make_unique<Bigbird>(problem, options);
    },
};

}  // namespace longattn

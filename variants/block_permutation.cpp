#include "variants/block_permutation.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "core/block_pattern.h"
#include "core/softmax_definition.h"

namespace longattn {
namespace {

struct Permutations {
  Permutations(const Problem& p, const Options& options)
      : num_blocks(options.integer("num_blocks")),
        block_size(std::max<Index>(BlockPattern::count_blocks(p.key_len, num_blocks), 1)) {
    for (Index head = 0; head < p.num_heads; ++head) {
      Index shift = head;
      if (!options.is_automatic("shifts")) {
        const auto& shifts = options.integers("shifts");
        shift = shifts[static_cast<size_t>(head) % shifts.size()];
      }
      shift_of_head.push_back(shift % num_blocks);
    }
  }
  bool heads_alike() const {
    return std::ranges::all_of(shift_of_head, [&](Index s) { return s == shift_of_head[0]; });
  }

  Index num_blocks, block_size;
  std::vector<Index> shift_of_head;
};

BlockPattern make_pattern(const Problem& p, const Permutations& permutations) {
  BlockPattern pattern(p, permutations.block_size);
  for (Index head = 0; head < (permutations.heads_alike() ? 1 : p.num_heads); ++head) {
    const Index shift = permutations.shift_of_head[static_cast<size_t>(head)];
    for (Index row = 0; row < pattern.num_blocks(); ++row) {
      // Wraps around all num_blocks, of which the last ones may be empty.
      const Index until_wrap = permutations.num_blocks - row;
      const Index column = shift < until_wrap ? row + shift : shift - until_wrap;
      pattern.add_row({{column, column + 1}});
    }
  }
  return pattern;
}

class BlockPermutation final : public BlockPatternAttention {
 public:
  BlockPermutation(const Problem& p, const Options& options)
      : BlockPatternAttention(p, make_pattern(p, Permutations(p, options))),
        permutations_(p, options) {}

  std::unique_ptr<Definition> definition(const Inputs& inputs, Index batch_entry,
                                         Index head) const override {
    const Index shift = permutations_.shift_of_head[static_cast<size_t>(head)];
    return softmax_definition(
        problem(), inputs, batch_entry, head, [this, shift](Index query, Index key) {
          const Index position = std::max<Index>(problem().position(query), 0);
          const Index row = position / permutations_.block_size;
          return key / permutations_.block_size == (row + shift) % permutations_.num_blocks;
        });
  }

 private:
  const Permutations permutations_;
};

}  // namespace

const Variant kBlockPermutation = {
    .name = "block_permutation",
    .summary = "each block of queries attends to one block of keys, shifted per head",
    .paper =
        "Qiu et al. 2020, Blockwise Self-Attention for Long Document Understanding (BlockBERT), "
        "section 3.1",
    .options = {{.name = "num_blocks",
                 .type = OptionType::integer,
                 .default_value = Index{2},
                 .doc = "blocks that the sequence is cut into",
                 .minimum = 1,
                 .maximum = 0x1p40},
                {.name = "shifts",
                 .type = OptionType::integers,
                 .default_value = Automatic{},
                 .doc = "of each head: how many blocks further its keys are; auto: 0, 1, 2, ..",
                 .minimum = 0,
                 .maximum = 0x1p40,
                 .may_be_auto = true}},
    .extra = {},
    .unsupported = [](const Problem& p, const Options& options) -> std::string {
      if (options.is_automatic("shifts")) return "";
      const auto given = static_cast<Index>(options.integers("shifts").size());
      if (given > 0 && p.num_heads % given == 0) return "";
      return fmt::format("shifts has {} entries, which num_heads {} is not a multiple of", given,
                         p.num_heads);
    },
    .traits =
        [](const Problem& p, const Options& options) {
          const Permutations permutations(p, options);
          const bool whole = permutations.num_blocks == 1;
          return Traits{
              .exact = whole, .heads_alike = permutations.heads_alike(), .prefix_stable = whole};
        },
    .growth = [](const Options&) { return Growth{.time = 2, .memory = 1}; },
    .make = [](const Problem& problem, const Options& options) -> std::unique_ptr<const Attention> {
      return std::make_unique<BlockPermutation>(problem, options);
    },
};

}  // namespace longattn

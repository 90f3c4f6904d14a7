#include "variants/blockwise.h"

#include "core/blocked_attention.h"
#include "core/dense_schedule.h"
#include "core/softmax_definition.h"
#include "core/visibility.h"

namespace longattn {
namespace {

Index block_or(const Options& options, std::string_view name, Index automatic) {
  return options.is_automatic(name) ? automatic : options.integer(name);
}

class Blockwise final : public Attention {
 public:
  Blockwise(const Problem& p, const Options& options)
      : Attention(p),
        schedule_(problem(), block_or(options, "query_block", default_query_block()),
                  block_or(options, "key_block", default_key_block(p))) {}

  std::unique_ptr<Definition> definition(const Inputs& inputs, Index batch_entry,
                                         Index head) const override {
    return softmax_definition(problem(), inputs, batch_entry, head);
  }
  Cost cost(int threads) const override {
    return blocked_cost(problem(), schedule_, visible_pairs(problem()), threads);
  }
  Rounding rounding() const override { return blocked_rounding(problem(), schedule_.key_block()); }

 private:
  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context& context) const override {
    blocked_attention(problem(), inputs, schedule_, outputs, context);
  }
  const DenseSchedule schedule_;
};

}  // namespace

const Variant kBlockwise = {
    .name = "blockwise",
    .summary = "exact, tile by tile with an online softmax; linear memory",
    .paper =
        "Rabe & Staats 2021, Self-attention Does Not Need O(n^2) Memory; Dao et al. 2022, "
        "FlashAttention; Liu & Abbeel 2023, Blockwise Parallel Transformer",
    .options = {{.name = "query_block",
                 .type = OptionType::integer,
                 .default_value = Automatic{},
                 .doc = "queries per block, in tokens",
                 .minimum = 1,
                 .maximum = 4096,
                 .may_be_auto = true},
                {.name = "key_block",
                 .type = OptionType::integer,
                 .default_value = Automatic{},
                 .doc = "keys per tile, in tokens; rounded up to a multiple of 32",
                 .minimum = 1,
                 .maximum = 4096,
                 .may_be_auto = true}},
    .extra = {},
    .unsupported = [](const Problem&, const Options&) -> std::string { return ""; },
    .traits = [](const Problem&, const Options&) { return Traits{.exact = true}; },
    .growth = [](const Options&) { return Growth{.time = 2, .memory = 1}; },
    .make = [](const Problem& problem, const Options& options) -> std::unique_ptr<const Attention> {
      return std::make_unique<Blockwise>(problem, options);
    },
};

}  // namespace longattn

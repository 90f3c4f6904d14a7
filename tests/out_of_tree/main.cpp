#include <algorithm>
#include <memory>

#include "core/softmax_definition.h"
#include "core/variant.h"
#include "experiments/cli/command_line.h"

namespace {

using namespace longattn;

// Each query weighs its own token alone: the smallest variant that can be written.
class Diagonal final : public Attention {
 public:
  using Attention::Attention;
  std::unique_ptr<Definition> definition(const Inputs& inputs, Index batch_entry,
                                         Index head) const override {
    return softmax_definition(problem(), inputs, batch_entry, head,
                              [this](Index i, Index j) { return problem().position(i) == j; });
  }
  Cost cost(int) const override {
    return {.scored_pairs =
                static_cast<double>(problem().batch * problem().num_heads * problem().query_len)};
  }
  bool has_logsumexp() const override { return false; }

 private:
  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context&) const override {
    const Problem& p = problem();
    for (Index b = 0; b < p.batch; ++b) {
      for (Index h = 0; h < p.num_heads; ++h) {
        for (Index i = 0; i < p.query_len; ++i) {
          float* output = outputs.output.row(b, h, i);
          const Index token = p.position(i);
          if (token >= 0 && p.visible(b, i, token)) {
            load_floats(p.dtype, inputs.values.row(b, p.kv_head(h), token), p.value_dim, output);
          } else {
            std::fill_n(output, p.value_dim, 0.0f);
          }
        }
      }
    }
  }
};

const Variant kDiagonal = {
    .name = "diagonal",
    .summary = "each token attends to itself alone",
    .paper = "none",
    .options = {},
    .extra = {},
    .unsupported = [](const Problem&, const Options&) -> std::string { return ""; },
    .traits = [](const Problem&, const Options&) { return Traits{}; },
    .growth = [](const Options&) { return Growth{.time = 1, .memory = 0}; },
    .make = [](const Problem& problem, const Options&) -> std::unique_ptr<const Attention> {
      return std::make_unique<Diagonal>(problem);
    },
};

}  // namespace

int main(int argc, char** argv) { return longattn::run_command_line(argc, argv, {&kDiagonal}); }

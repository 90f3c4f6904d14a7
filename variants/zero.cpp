#include "variants/zero.h"

#include <algorithm>

namespace longattn {
namespace {

class ZeroDefinition final : public Definition {
 public:
  explicit ZeroDefinition(Index key_len) : key_len_(key_len) {}
  Rows rows(std::span<const Index> queries) const override {
    const auto count = static_cast<Index>(queries.size());
    Rows result;
    result.weights = Eigen::MatrixXd::Zero(count, key_len_);
    result.score_bound = Eigen::VectorXd::Zero(count);
    return result;
  }

 private:
  const Index key_len_;
};

class Zero final : public Attention {
 public:
  using Attention::Attention;
  std::unique_ptr<Definition> definition(const Inputs&, Index, Index) const override {
    return std::make_unique<ZeroDefinition>(problem().key_len);
  }
  Cost cost(int) const override { return {.bytes_moved = least_traffic(problem())}; }
  bool has_logsumexp() const override { return false; }

 private:
  void forward_impl(const Inputs&, const Outputs& outputs, Context&) const override {
    for (Index b = 0; b < problem().batch; ++b) {
      for (Index h = 0; h < problem().num_heads; ++h) {
        for (Index i = 0; i < problem().query_len; ++i) {
          std::fill_n(outputs.output.row(b, h, i), problem().value_dim, 0.0f);
        }
      }
    }
  }
};

}  // namespace

const Variant kZero = {
    .name = "zero",
    .summary = "null baseline: writes zeros, relative error exactly 1",
    .paper = "none; a floor for error figures",
    .options = {},
    .extra = {},
    .unsupported = [](const Problem&, const Options&) -> std::string { return ""; },
    .traits = [](const Problem&, const Options&) { return Traits{.rows = Traits::Rows::signed_}; },
    .growth = [](const Options&) { return Growth{.time = 1, .memory = 0}; },
    .make = [](const Problem& problem, const Options&) -> std::unique_ptr<const Attention> {
      return std::make_unique<Zero>(problem);
    },
};

}  // namespace longattn

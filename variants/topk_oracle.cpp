#include "variants/topk_oracle.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/blocked_attention.h"
#include "core/listed_attention.h"
#include "core/visibility.h"

namespace longattn {
namespace {

class TopKeys final : public KeyChooser {
 public:
  TopKeys(const Problem& problem, Index k) : p_(problem), k_(std::min(k, problem.key_len)) {}

  Index max_keys() const override { return k_; }
  Index scratch_bytes() const override {
    return Workspace::bytes_for<double>(kGroup * p_.head_dim) +
           Workspace::bytes_for<double>(kKeys * p_.head_dim) +
           Workspace::bytes_for<double>(p_.head_dim) +
           Workspace::bytes_for<double>(kGroup * p_.key_len) +
           Workspace::bytes_for<Index>(p_.key_len);
  }

  void choose(const Inputs& inputs, Index b, Index head, const TokenSet& queries, std::byte* bytes,
              Index* keys, Index* counts) const override {
    const Scratch scratch(*this, bytes);
    const KeyRange range = visible_range(p_, b, queries);
    score(inputs, b, head, queries, range, scratch);
    for (Index n = 0; n < queries.count; ++n) {
      counts[n] = select(b, head, queries[n], range, scratch.scores + n * p_.key_len,
                         scratch.candidates, keys + n * k_);
    }
  }

 private:
  static constexpr Index kKeys = 16;  // scored side by side

  struct Scratch {
    Scratch(const TopKeys& of, std::byte* bytes) {
      const auto take = [&](Index count) {
        auto* part = reinterpret_cast<double*>(bytes);
        bytes += Workspace::bytes_for<double>(count);
        return part;
      };
      queries = take(kGroup * of.p_.head_dim);
      panel = take(kKeys * of.p_.head_dim);
      row = take(of.p_.head_dim);
      scores = take(kGroup * of.p_.key_len);
      candidates = reinterpret_cast<Index*>(bytes);
    }
    double *queries, *panel, *row, *scores;
    Index* candidates;
  };

  // q . k of every key in the range. Each sum runs over the components in order, whichever keys
  // stand beside it.
  void score(const Inputs& inputs, Index b, Index head, const TokenSet& queries, KeyRange range,
             const Scratch& scratch) const {
    for (Index n = 0; n < queries.count; ++n) {
      load_row(inputs.queries, b, head, queries[n], scratch.queries + n * p_.head_dim);
    }
    for (Index first = range.begin; first < range.end; first += kKeys) {
      const Index count = std::min(kKeys, range.end - first);
      for (Index j = 0; j < count; ++j) {
        load_row(inputs.keys, b, p_.kv_head(head), first + j, scratch.row);
        for (Index c = 0; c < p_.head_dim; ++c) scratch.panel[c * kKeys + j] = scratch.row[c];
      }
      for (Index n = 0; n < queries.count; ++n) {
        const double* q = scratch.queries + n * p_.head_dim;
        double sums[kKeys] = {};
        for (Index c = 0; c < p_.head_dim; ++c) {
          for (Index j = 0; j < kKeys; ++j) sums[j] += q[c] * scratch.panel[c * kKeys + j];
        }
        std::copy_n(sums, count, scratch.scores + n * p_.key_len + first);
      }
    }
  }

  // The k visible keys with the largest scores, ascending.
  Index select(Index b, Index head, Index query, KeyRange range, double* scores, Index* candidates,
               Index* keys) const {
    Index seen = 0;
    for (Index j = range.begin; j < range.end; ++j) {
      if (!p_.visible(b, query, j)) continue;
      candidates[seen++] = j;
      scores[j] = p_.effective_scale() * scores[j] + p_.bias(head, query, j);
      if (std::isnan(scores[j])) scores[j] = std::numeric_limits<double>::infinity();
    }
    const Index count = std::min(k_, seen);
    if (count < seen) {
      std::nth_element(candidates, candidates + count, candidates + seen, [&](Index x, Index y) {
        return scores[x] != scores[y] ? scores[x] > scores[y] : x < y;
      });
    }
    std::sort(candidates, candidates + count);
    std::copy_n(candidates, count, keys);
    return count;
  }

  const Problem& p_;
  const Index k_;
};

class TopkOracle final : public ListedAttention {
 public:
  TopkOracle(const Problem& p, const Options& options)
      : ListedAttention(p), chooser_(problem(), options.integer("k")) {}

  // Every visible key gets a score; those that are kept get another in the engine.
  Cost cost(int threads) const override {
    const Problem& p = problem();
    const auto rows = static_cast<double>(p.batch * p.num_heads * p.query_len);
    const double seen = visible_pairs(p);
    Cost cost =
        listed_cost(std::min(seen, rows * static_cast<double>(chooser_.max_keys())), threads);
    cost.scored_pairs = seen;
    cost.double_flops = 2 * seen * static_cast<double>(p.head_dim);  // of the choice
    cost.flops += cost.double_flops;
    return cost;
  }

 private:
  const KeyChooser& chooser() const override { return chooser_; }
  const TopKeys chooser_;
};

}  // namespace

const Variant kTopkOracle = {
    .name = "topk_oracle",
    .summary =
        "baseline: the k keys with the largest true scores of each row; the best sparse rows",
    .paper = "none; cf. Gupta et al. 2021, Memory-efficient Transformers via Top-k Attention",
    .options = {{.name = "k",
                 .type = OptionType::integer,
                 .default_value = Index{64},
                 .doc = "keys a row",
                 .minimum = 1,
                 .nested = true}},
    .extra = {},
    .unsupported = [](const Problem&, const Options&) -> std::string { return ""; },
    .traits =
        [](const Problem& p, const Options& options) {
          return Traits{.exact = options.integer("k") >= p.key_len, .content_based = true};
        },
    .growth = [](const Options&) { return Growth{.time = 2, .memory = 1}; },
    .make = [](const Problem& problem, const Options& options) -> std::unique_ptr<const Attention> {
      return std::make_unique<TopkOracle>(problem, options);
    },
};

}  // namespace longattn

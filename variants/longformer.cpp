#include "variants/longformer.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/blocked_attention.h"
#include "core/error.h"
#include "core/softmax_definition.h"
#include "core/visibility.h"

namespace longattn {
namespace {

struct Pattern {
  Pattern(const Problem& p, const Options& options)
      : problem(p), window(options.integer("window")), dilation(options.integer("dilation")) {
    globals = options.integers("global_tokens");
    std::ranges::sort(globals);
    globals.erase(std::unique(globals.begin(), globals.end()), globals.end());
    // Beyond the sequence a longer reach changes nothing; the cut keeps products in range.
    window = std::min(window, p.key_len + p.query_len);
    dilation = std::min(dilation, p.key_len + p.query_len + 1);
  }
  bool is_global(Index token) const { return std::ranges::binary_search(globals, token); }
  bool in_window(Index position, Index key) const {
    const Index distance = std::abs(position - key);
    return distance <= window * dilation && distance % dilation == 0;
  }
  bool allowed(Index query, Index key) const {
    const Index position = problem.position(query);
    return is_global(position) || is_global(key) || in_window(position, key);
  }

  const Problem& problem;
  Index window, dilation;
  std::vector<Index> globals;
};

enum class RowKind { local, global, all };

// Local rows: per residue class of queries, blocks of consecutive members; their window is dense
// among the keys of the same class. Global rows: blocks of a list, all keys.
class LongformerSchedule final : public BlockSchedule {
 public:
  LongformerSchedule(const Pattern& pattern, RowKind kind)
      : BlockSchedule(most_rows(pattern, kind), default_key_block(pattern.problem)),
        pattern_(pattern) {
    list_rows();
    if (kind != RowKind::global) cut_local_rows();
    if (kind != RowKind::local) cut(global_rows_, global_blocks_);
  }

  Index num_blocks(Index, Index) const override {
    return static_cast<Index>(local_blocks_.size() + global_blocks_.size());
  }
  TokenSet queries(Index, Index, Index block) const override {
    const auto n = static_cast<size_t>(block);
    return is_local(block) ? local_blocks_[n] : global_blocks_[n - local_blocks_.size()];
  }
  Index max_sources() const override { return 2; }

  Index sources(Index b, Index head, Index block, std::span<KeySource> out) const override {
    const Problem& p = pattern_.problem;
    const TokenSet rows = queries(b, head, block);
    const KeyRange visible = visible_range(p, b, rows);
    if (!is_local(block)) {
      if (visible.begin >= visible.end) return 0;
      out[0].keys = {visible.begin, visible.end - visible.begin};
      out[0].partial = !fully_visible(p, b, rows, out[0].keys);
      return 1;
    }
    Index count = 0;
    const Index reach = pattern_.window * pattern_.dilation;
    const Index first = p.position(rows[0]), last = p.position(rows[rows.count - 1]);
    const Index begin = congruent_at_least(std::max(first - reach, visible.begin), first);
    const Index end = std::min(last + reach + 1, visible.end);
    if (begin < end) {
      const Index stride = pattern_.dilation;
      out[static_cast<size_t>(count++)] = {{begin, (end - begin + stride - 1) / stride, stride},
                                           true};
    }
    if (!pattern_.globals.empty()) {
      const TokenSet all{0, static_cast<Index>(pattern_.globals.size()), 1,
                         pattern_.globals.data()};
      const Index seen = all.count_below(visible.end);
      if (seen > 0) {
        const TokenSet keys = all.slice(0, seen);
        out[static_cast<size_t>(count++)] = {keys, !fully_visible(p, b, rows, keys)};
      }
    }
    return count;
  }

  void mask(const Tile& tile, TileMask& mask) const override {
    const Problem& p = pattern_.problem;
    apply_mask(p, tile, mask);
    // Only local rows have windows, and only their window source is not the list of globals.
    if (pattern_.is_global(p.position(tile.queries[0])) || tile.keys.list != nullptr) return;
    const Index reach = pattern_.window * pattern_.dilation;
    for (Index r = 0; r < mask.rows; ++r) {
      const Index position = p.position(tile.queries[r]);
      mask.clip(r, tile.keys.count_below(position - reach),
                tile.keys.count_below(position + reach + 1));
    }
    hide_globals(tile, mask);
  }

  bool shares_packed_keys() const override {
    return pattern_.dilation == 1 || !global_blocks_.empty();
  }

 private:
  // A pass over global rows alone takes no more memory than these few need.
  static Index most_rows(const Pattern& pattern, RowKind kind) {
    if (kind != RowKind::global) return default_query_block();
    return std::clamp(static_cast<Index>(pattern.globals.size()), Index{1}, default_query_block());
  }

  bool is_local(Index block) const { return block < static_cast<Index>(local_blocks_.size()); }

  // The least token >= bound that is congruent to `position` modulo the dilation.
  Index congruent_at_least(Index bound, Index position) const {
    const Index stride = pattern_.dilation;
    const Index behind = ((position - bound) % stride + stride) % stride;
    return bound + behind;
  }

  // Global keys are a source of their own, so they leave the window.
  void hide_globals(const Tile& tile, TileMask& mask) const {
    if (tile.keys.count == 0) return;
    const Index first = tile.keys[0], last = tile.keys[tile.keys.count - 1];
    const auto& globals = pattern_.globals;
    for (auto g = std::ranges::lower_bound(globals, first); g != globals.end() && *g <= last; ++g) {
      if ((*g - first) % tile.keys.stride != 0) continue;
      for (Index r = 0; r < mask.rows; ++r) mask.hide(r, (*g - first) / tile.keys.stride);
    }
  }

  void list_rows() {
    const Problem& p = pattern_.problem;
    for (Index token : pattern_.globals) {
      const Index query = token - p.position(0);
      if (query >= 0 && query < p.query_len) global_rows_.push_back(query);
    }
    if (global_rows_.empty()) return;
    for (Index c = 0; c < classes(); ++c) {
      for (Index query = c; query < p.query_len; query += pattern_.dilation) {
        if (!pattern_.is_global(p.position(query))) local_rows_.push_back(query);
      }
    }
  }

  Index classes() const { return std::min(pattern_.dilation, pattern_.problem.query_len); }

  void cut_local_rows() {
    const Problem& p = pattern_.problem;
    if (global_rows_.empty()) {
      for (Index c = 0; c < classes(); ++c) {
        const Index members = (p.query_len - c + pattern_.dilation - 1) / pattern_.dilation;
        for (Index n = 0; n < members; n += query_block()) {
          local_blocks_.push_back({c + n * pattern_.dilation, std::min(query_block(), members - n),
                                   pattern_.dilation, nullptr});
        }
      }
      return;
    }
    // A block must not mix residue classes.
    size_t first = 0;
    while (first < local_rows_.size()) {
      size_t last = first;
      while (last < local_rows_.size() && last - first < static_cast<size_t>(query_block()) &&
             (local_rows_[last] - local_rows_[first]) % pattern_.dilation == 0 &&
             local_rows_[last] >= local_rows_[first]) {
        ++last;
      }
      local_blocks_.push_back({0, static_cast<Index>(last - first), 1, local_rows_.data() + first});
      first = last;
    }
  }

  void cut(const std::vector<Index>& rows, std::vector<TokenSet>& blocks) const {
    for (size_t n = 0; n < rows.size(); n += static_cast<size_t>(query_block())) {
      const auto left = static_cast<Index>(rows.size() - n);
      blocks.push_back({0, std::min(query_block(), left), 1, rows.data() + n});
    }
  }

  const Pattern& pattern_;
  std::vector<Index> local_rows_;   // by residue class; only if some rows are global
  std::vector<Index> global_rows_;  // queries whose token is global
  std::vector<TokenSet> local_blocks_, global_blocks_;
};

constexpr std::string_view kGlobalQueries = "global_queries";
constexpr std::string_view kGlobalKeys = "global_keys";
constexpr std::string_view kGlobalValues = "global_values";

// Queries, keys and values of the separate global projections.
Inputs global_inputs(const Inputs& inputs) {
  const auto view = [&](std::string_view name) {
    return inputs.extra[static_cast<size_t>(inputs.find_extra(name))].view;
  };
  return {view(kGlobalQueries), view(kGlobalKeys), view(kGlobalValues), {}};
}

// Local rows from the ordinary projections, global rows from their own.
class SeparateDefinition final : public Definition {
 public:
  SeparateDefinition(const Pattern& pattern, const Inputs& inputs, Index batch_entry, Index head)
      : pattern_(pattern),
        local_(softmax_definition(pattern.problem, inputs, batch_entry, head,
                                  [this](Index i, Index j) { return pattern_.allowed(i, j); })),
        global_(softmax_definition(pattern.problem, global_inputs(inputs), batch_entry, head)),
        value_source_(1 + inputs.find_extra(kGlobalValues)) {}

  Rows rows(std::span<const Index> queries) const override {
    Rows result = local_->rows(queries);
    result.value_source.assign(queries.size(), 0);
    for (size_t n = 0; n < queries.size(); ++n) {
      if (!pattern_.is_global(pattern_.problem.position(queries[n]))) continue;
      const Rows row = global_->rows(queries.subspan(n, 1));
      const auto r = static_cast<Index>(n);
      result.weights.row(r) = row.weights.row(0);
      result.score_bound(r) = row.score_bound(0);
      result.logsumexp(r) = row.logsumexp(0);
      result.value_source[n] = value_source_;
    }
    return result;
  }

 private:
  const Pattern pattern_;
  const std::unique_ptr<Definition> local_, global_;
  const int value_source_;
};

class Longformer final : public Attention {
 public:
  Longformer(const Problem& p, const Options& options)
      : Attention(p),
        pattern_(problem(), options),
        tied_(pattern_, RowKind::all),
        local_(pattern_, RowKind::local),
        global_(pattern_, RowKind::global) {}

  std::unique_ptr<Definition> definition(const Inputs& inputs, Index batch_entry,
                                         Index head) const override {
    check_extra(kLongformer, problem(), inputs);
    if (!inputs.extra.empty()) {
      return std::make_unique<SeparateDefinition>(pattern_, inputs, batch_entry, head);
    }
    return softmax_definition(problem(), inputs, batch_entry, head,
                              [this](Index i, Index j) { return pattern_.allowed(i, j); });
  }

  Cost cost(int threads) const override {
    Cost cost = blocked_cost(problem(), tied_, scored_pairs(), threads);
    // With separate projections the passes follow each other; each takes no more than both.
    cost.workspace_bytes =
        static_cast<double>(std::max({blocked_workspace_bytes(problem(), tied_, threads),
                                      blocked_workspace_bytes(problem(), local_, threads),
                                      blocked_workspace_bytes(problem(), global_, threads)}));
    return cost;
  }

  Rounding rounding() const override {
    // A row sums over its window, in tiles, and then over the globals: no more tiles than a full
    // row has, plus the list.
    Rounding rounding = blocked_rounding(problem(), default_key_block(problem()));
    rounding.sum_roundings += static_cast<double>(pattern_.globals.size());
    return rounding;
  }

 private:
  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context& context) const override {
    check_extra(kLongformer, problem(), inputs);
    if (inputs.extra.empty()) {
      blocked_attention(problem(), inputs, tied_, outputs, context);
      return;
    }
    blocked_attention(problem(), inputs, local_, outputs, context);
    blocked_attention(problem(), global_inputs(inputs), global_, outputs, context);
  }

  double scored_pairs() const {
    return static_cast<double>(problem().num_heads) *
           sum_over_queries(problem(), [&](Index position, Index end) {
             return pattern_.is_global(position) ? end : local_pairs(position, end);
           });
  }

  Index local_pairs(Index position, Index end) const {
    const Index delta = pattern_.dilation, reach = pattern_.window * delta;
    // Multiples of delta below zero distance and above, clipped to [0, end).
    const auto floor_div = [](Index x, Index y) { return x >= 0 ? x / y : -((-x + y - 1) / y); };
    const Index lowest = -floor_div(std::min(position, reach), delta);
    const Index highest = floor_div(std::min(end - 1 - position, reach), delta);
    Index pairs = std::max<Index>(highest - lowest + 1, 0);
    for (Index token : pattern_.globals) {
      if (token < end && !pattern_.in_window(position, token)) ++pairs;
    }
    return pairs;
  }

  const Pattern pattern_;
  const LongformerSchedule tied_, local_, global_;
};

}  // namespace

const Variant kLongformer = {
    .name = "longformer",
    .summary = "sliding window, dilation, global tokens",
    .paper = "Beltagy, Peters & Cohan 2020, Longformer: The Long-Document Transformer, section 3.1",
    .options = {{.name = "window",
                 .type = OptionType::integer,
                 .default_value = Index{256},
                 .doc = "tokens seen on each side, itself not counted",
                 .minimum = 0,
                 .maximum = 0x1p40,
                 .nested = true},
                {.name = "dilation",
                 .type = OptionType::integer,
                 .default_value = Index{1},
                 .doc = "distance between neighbouring keys of the window, in tokens; 1: none",
                 .minimum = 1,
                 .maximum = 0x1p20},
                {.name = "global_tokens",
                 .type = OptionType::integers,
                 .default_value = std::vector<Index>{},
                 .doc = "tokens that see every token and are seen by every token",
                 .minimum = 0}},
    .extra = {{std::string(kGlobalQueries), ExtraTensor::Like::queries,
               "queries of the global projection, for rows of global tokens"},
              {std::string(kGlobalKeys), ExtraTensor::Like::keys,
               "keys of the global projection, seen by global tokens"},
              {std::string(kGlobalValues), ExtraTensor::Like::values,
               "values of the global projection, seen by global tokens"}},
    .unsupported = [](const Problem& p, const Options& options) -> std::string {
      for (Index token : options.integers("global_tokens")) {
        if (token >= p.key_len) {
          return fmt::format("global token {} lies beyond the sequence, key_len is {}", token,
                             p.key_len);
        }
      }
      return "";
    },
    .traits =
        [](const Problem& p, const Options& options) {
          const Index farthest = std::max(p.key_len, p.query_len) - 1;
          return Traits{.exact = options.integer("dilation") == 1 &&
                                 options.integer("window") >= farthest};
        },
    .growth = [](const Options&) { return Growth{.time = 1, .memory = 1}; },
    .make = [](const Problem& problem, const Options& options) -> std::unique_ptr<const Attention> {
      return std::make_unique<Longformer>(problem, options);
    },
};

}  // namespace longattn

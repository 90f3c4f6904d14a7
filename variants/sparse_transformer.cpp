#include "variants/sparse_transformer.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/blocked_attention.h"
#include "core/dense_schedule.h"
#include "core/softmax_definition.h"
#include "core/visibility.h"

namespace longattn {
namespace {

Index floor_div(Index x, Index y) { return x >= 0 ? x / y : -((-x + y - 1) / y); }
Index modulo(Index x, Index y) { return x - floor_div(x, y) * y; }

struct Pattern {
  Pattern(const Problem& p, const Options& options)
      : problem(p),
        strided(options.text("pattern") == "strided"),
        fixed(options.text("pattern") == "fixed"),
        first_column(options.text("reading") != "code"),
        stride(options.is_automatic("stride")
                   ? std::max<Index>(std::llround(std::sqrt(static_cast<double>(p.key_len))), 1)
                   : options.integer("stride")),
        expressivity(std::min(options.integer("expressivity"), stride)),
        reach(!strided && options.text("reading") == "paper" ? stride : stride - 1) {}

  bool in_window(Index position, Index key) const { return std::abs(position - key) <= reach; }
  bool in_column(Index position, Index key) const { return (position - key) % stride == 0; }
  bool in_own_block(Index position, Index key) const {
    return floor_div(position, stride) == key / stride;
  }
  bool is_summary(Index key) const {
    const Index place = key % stride;
    return place >= stride - expressivity || (first_column && place == 0);
  }
  bool allowed(Index query, Index key) const {
    const Index position = problem.position(query);
    if (fixed) return in_own_block(position, key) || is_summary(key);
    return in_window(position, key) || (strided && in_column(position, key));
  }

  // Whether every window holds all that the mask can show.
  bool window_covers_all() const {
    return reach >= std::max(problem.key_len, problem.query_len) - 1;
  }
  bool all_summaries() const { return expressivity + (first_column ? 1 : 0) >= stride; }
  bool exact() const {
    if (!fixed) return window_covers_all() || (strided && stride == 1);
    const bool one_block =
        stride >= problem.key_len && (problem.mask.causal || problem.query_len <= problem.key_len);
    return all_summaries() || one_block;
  }

  // Keys below `end` that a query weighs.
  Index pairs_of_row(Index position, Index end) const {
    if (fixed) {
      const Index block = floor_div(position, stride) * stride;
      const Index begin_of_own = std::clamp(block, Index{0}, end);
      const Index end_of_own = std::clamp(block + stride, Index{0}, end);
      return end_of_own - begin_of_own + summaries_below(end) -
             (summaries_below(end_of_own) - summaries_below(begin_of_own));
    }
    const Index window = std::clamp(position + reach + 1, Index{0}, end) -
                         std::clamp(position - reach, Index{0}, end);
    if (!strided) return window;
    const Index first = modulo(position, stride);
    const Index columns = first < end ? (end - 1 - first) / stride + 1 : 0;
    return window + columns - (position >= 0 && position < end ? 1 : 0);
  }
  Index summaries_below(Index end) const {
    if (all_summaries()) return end;
    const Index rest = end % stride, extra = first_column ? 1 : 0;
    return end / stride * (expressivity + extra) +
           std::max<Index>(rest - (stride - expressivity), 0) + std::min(rest, extra);
  }

  const Problem& problem;
  bool strided, fixed, first_column;
  Index stride, expressivity;
  Index reach;  // of the window, on each side
};

// Queries in a block whose keys are not contiguous: the more, the less often keys are gathered.
constexpr Index kMostRows = 256;

// Blocks of consecutive queries against their window; without `self`, the query's own token is left
// to the columns.
class WindowSchedule final : public DenseSchedule {
 public:
  WindowSchedule(const Pattern& pattern, bool self)
      : DenseSchedule(pattern.problem, default_query_block(), default_key_block(pattern.problem)),
        pattern_(pattern),
        self_(self) {}

  Index sources(Index b, Index head, Index block, std::span<KeySource> out) const override {
    const Problem& p = pattern_.problem;
    const TokenSet rows = queries(b, head, block);
    const KeyRange visible = visible_range(p, b, rows);
    const Index begin = std::max(p.position(rows[0]) - pattern_.reach, visible.begin);
    const Index end = std::min(p.position(rows[rows.count - 1]) + pattern_.reach + 1, visible.end);
    if (begin >= end) return 0;
    out[0] = {{begin, end - begin}, true};
    return 1;
  }
  void mask(const Tile& tile, TileMask& mask) const override {
    DenseSchedule::mask(tile, mask);
    for (Index r = 0; r < mask.rows; ++r) {
      const Index position = pattern_.problem.position(tile.queries[r]);
      mask.clip(r, tile.keys.count_below(position - pattern_.reach),
                tile.keys.count_below(position + pattern_.reach + 1));
      if (!self_) mask.hide(r, position - tile.keys.begin);
    }
  }

 private:
  const Pattern& pattern_;
  const bool self_;
};

// The columns of strided: queries of one residue class against the keys of the same class.
class ColumnSchedule final : public BlockSchedule {
 public:
  explicit ColumnSchedule(const Pattern& pattern)
      : BlockSchedule(std::clamp(members(pattern, 0), Index{1}, kMostRows),
                      default_key_block(pattern.problem)),
        pattern_(pattern) {
    for (Index c = 0; c < std::min(pattern.stride, pattern.problem.query_len); ++c) {
      for (Index n = 0; n < members(pattern, c); n += query_block()) {
        blocks_.push_back({c + n * pattern.stride, std::min(query_block(), members(pattern, c) - n),
                           pattern.stride, nullptr});
      }
    }
  }

  Index num_blocks(Index, Index) const override { return static_cast<Index>(blocks_.size()); }
  TokenSet queries(Index, Index, Index block) const override {
    return blocks_[static_cast<size_t>(block)];
  }
  Index max_sources() const override { return 1; }
  Index sources(Index b, Index head, Index block, std::span<KeySource> out) const override {
    const Problem& p = pattern_.problem;
    const TokenSet rows = queries(b, head, block);
    const KeyRange visible = visible_range(p, b, rows);
    const Index begin =
        visible.begin + modulo(p.position(rows[0]) - visible.begin, pattern_.stride);
    if (begin >= visible.end) return 0;
    const TokenSet keys{begin, (visible.end - begin - 1) / pattern_.stride + 1, pattern_.stride,
                        nullptr};
    out[0] = {keys, !fully_visible(p, b, rows, keys)};
    return 1;
  }
  void mask(const Tile& tile, TileMask& mask) const override {
    apply_mask(pattern_.problem, tile, mask);
  }
  bool shares_packed_keys() const override { return pattern_.stride == 1; }

 private:
  static Index members(const Pattern& pattern, Index residue) {
    return (pattern.problem.query_len - residue + pattern.stride - 1) / pattern.stride;
  }

  const Pattern& pattern_;
  std::vector<TokenSet> blocks_;
};

// fixed: queries of one block of the pattern, or of several where blocks are short, against these
// blocks; and against the list of all summary columns before them and, if not causal, behind.
class FixedSchedule final : public BlockSchedule {
 public:
  explicit FixedSchedule(const Pattern& pattern)
      : BlockSchedule(std::min(span(pattern), kMostRows), default_key_block(pattern.problem)),
        pattern_(pattern) {
    const Problem& p = pattern.problem;
    for (Index query = 0; query < p.query_len;) {
      const Index to_edge = span(pattern) - modulo(p.position(query), span(pattern));
      const Index count = std::min({query_block(), p.query_len - query, to_edge});
      blocks_.push_back({query, count, 1, nullptr});
      query += count;
    }
    for (Index j = 0; j < p.key_len; ++j) {
      if (pattern.is_summary(j)) summaries_.push_back(j);
    }
  }

  Index num_blocks(Index, Index) const override { return static_cast<Index>(blocks_.size()); }
  TokenSet queries(Index, Index, Index block) const override {
    return blocks_[static_cast<size_t>(block)];
  }
  Index max_sources() const override { return 3; }
  Index sources(Index b, Index head, Index block, std::span<KeySource> out) const override {
    const Problem& p = pattern_.problem;
    const TokenSet rows = queries(b, head, block);
    const KeyRange visible = visible_range(p, b, rows);
    const Index stride = pattern_.stride;
    const Index first = floor_div(p.position(rows[0]), stride);
    const Index last = floor_div(p.position(rows[rows.count - 1]), stride);
    const Index begin = std::clamp(first * stride, visible.begin, visible.end);
    const Index end = std::clamp(last * stride + stride, visible.begin, visible.end);
    Index count = 0;
    const auto add = [&](const TokenSet& keys, bool partial) {
      if (keys.count == 0) return;
      out[static_cast<size_t>(count++)] = {keys, partial || !fully_visible(p, b, rows, keys)};
    };
    const TokenSet all{0, static_cast<Index>(summaries_.size()), 1, summaries_.data()};
    const auto between = [&](Index from, Index to) {
      const Index skipped = all.count_below(from);
      return all.slice(skipped, all.count_below(to) - skipped);
    };
    add(between(visible.begin, begin), false);
    add({begin, end - begin}, first != last);
    add(between(end, visible.end), false);
    return count;
  }
  void mask(const Tile& tile, TileMask& mask) const override {
    const Problem& p = pattern_.problem;
    apply_mask(p, tile, mask);
    if (tile.keys.list != nullptr || span(pattern_) == pattern_.stride) return;
    // Several blocks: of the others, only the summaries are seen.
    for (Index r = 0; r < mask.rows; ++r) {
      for (Index c = mask.begin[r]; c < mask.end[r]; ++c) {
        const Index key = tile.keys[c];
        if (pattern_.is_summary(key)) continue;
        if (!pattern_.in_own_block(p.position(tile.queries[r]), key)) mask.hide(r, c);
      }
    }
  }

 private:
  // Positions that may share a query block: one block of the pattern, or as many as fit in a query
  // block of ordinary size.
  static Index span(const Pattern& pattern) {
    return std::max<Index>(default_query_block() / pattern.stride, 1) * pattern.stride;
  }

  const Pattern& pattern_;
  std::vector<TokenSet> blocks_;
  std::vector<Index> summaries_;  // ascending
};

class SparseTransformer final : public Attention {
 public:
  SparseTransformer(const Problem& p, const Options& options)
      : Attention(p), pattern_(problem(), options) {
    if (pattern_.fixed) {
      schedules_.push_back(std::make_unique<FixedSchedule>(pattern_));
    } else if (!pattern_.strided || pattern_.window_covers_all()) {
      schedules_.push_back(std::make_unique<WindowSchedule>(pattern_, true));
    } else {
      if (pattern_.stride > 1) {
        schedules_.push_back(std::make_unique<WindowSchedule>(pattern_, false));
      }
      schedules_.push_back(std::make_unique<ColumnSchedule>(pattern_));
    }
    for (const auto& schedule : schedules_) passes_.push_back(schedule.get());
  }

  std::unique_ptr<Definition> definition(const Inputs& inputs, Index batch_entry,
                                         Index head) const override {
    return softmax_definition(problem(), inputs, batch_entry, head,
                              [this](Index i, Index j) { return pattern_.allowed(i, j); });
  }
  Cost cost(int threads) const override {
    Cost cost = blocked_cost(problem(), *passes_[0], scored_pairs(), threads);
    cost.workspace_bytes =
        static_cast<double>(blocked_workspace_bytes(problem(), passes_, threads));
    return cost;
  }
  Rounding rounding() const override {
    // At most three sources where full attention has one: each may begin inside a panel and end in
    // a short tile.
    return blocked_rounding(problem(), default_key_block(problem()), 4);
  }

 private:
  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context& context) const override {
    blocked_attention(problem(), inputs, passes_, outputs, context);
  }

  double scored_pairs() const {
    return static_cast<double>(problem().num_heads) *
           sum_over_queries(problem(), [&](Index position, Index end) {
             return pattern_.pairs_of_row(position, end);
           });
  }

  const Pattern pattern_;
  std::vector<std::unique_ptr<const BlockSchedule>> schedules_;
  std::vector<const BlockSchedule*> passes_;  // of schedules_
};

}  // namespace

const Variant kSparseTransformer = {
    .name = "sparse_transformer",
    .summary = "factorised patterns: a window and strided columns, or blocks and their summaries",
    .paper =
        "Child, Gray, Radford & Sutskever 2019, Generating Long Sequences with Sparse "
        "Transformers, sections 4.2 and 4.3",
    .options = {{.name = "pattern",
                 .type = OptionType::choice,
                 .default_value = std::string("strided"),
                 .doc = "strided: window and columns; fixed: own block and summary columns; local: "
                        "window alone",
                 .choices = {"strided", "fixed", "local"}},
                {.name = "stride",
                 .type = OptionType::integer,
                 .default_value = Automatic{},
                 .doc = "tokens in a window or block, and between columns; auto: round(sqrt(N))",
                 .minimum = 1,
                 .maximum = 0x1p40,
                 .may_be_auto = true},
                {.name = "expressivity",
                 .type = OptionType::integer,
                 .default_value = Index{8},
                 .doc = "summary columns in each block of fixed, in tokens",
                 .minimum = 1,
                 .maximum = 0x1p40,
                 .nested = true},
                {.name = "reading",
                 .type = OptionType::choice,
                 .default_value = std::string("code"),
                 .doc = "whose off-by-ones: code (l keys, c columns), paper (l + 1, c + 1), lra "
                        "(l, c + 1)",
                 .choices = {"code", "paper", "lra"}}},
    .extra = {},
    .unsupported = [](const Problem&, const Options&) -> std::string { return ""; },
    .traits =
        [](const Problem& p, const Options& options) {
          return Traits{.exact = Pattern(p, options).exact(),
                        .prefix_stable = !options.is_automatic("stride")};
        },
    .growth =
        [](const Options& options) {
          if (options.is_automatic("stride")) return Growth{.time = 1.5, .memory = 1};
          return Growth{.time = options.text("pattern") == "local" ? 1.0 : 2.0, .memory = 1};
        },
    .make = [](const Problem& problem, const Options& options) -> std::unique_ptr<const Attention> {
      return std::make_unique<SparseTransformer>(problem, options);
    },
};

}  // namespace longattn

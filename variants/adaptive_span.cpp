#include "variants/adaptive_span.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/blocked_attention.h"
#include "core/error.h"
#include "core/io/npy.h"
#include "core/io/text.h"
#include "core/visibility.h"

namespace longattn {
namespace {

// One span for all heads, or one a head, as the option says.
std::vector<double> given_spans(const Options& options) {
  if (!options.is_path("span")) return options.numbers("span");
  const std::string name = printable(options.text("span"));
  std::vector<double> spans;
  try {
    spans = to_doubles(read_npy(options.text("span")));
  } catch (const Error& error) {
    throw DataError(fmt::format(
        "option 'span' is '{}', expected numbers or a .npy file of them: {}", name, error.what()));
  }
  for (size_t n = 0; n < spans.size(); ++n) {
    if (spans[n] >= 0 && std::isfinite(spans[n])) continue;
    throw DataError(fmt::format("option 'span': {}: number {} is {}, expected a number >= 0", name,
                                n, spans[n]));
  }
  return spans;
}

std::vector<double> spans_of_heads(const Problem& p, const Options& options) {
  std::vector<double> spans = given_spans(options);
  if (spans.size() == 1) spans.assign(static_cast<size_t>(p.num_heads), spans[0]);
  return spans;
}

std::string why_unsupported(const Problem& p, const Options& options) {
  const size_t count = given_spans(options).size();
  if (count == 1 || static_cast<Index>(count) == p.num_heads) return "";
  return fmt::format("span has {} numbers, expected 1 or one a head, num_heads is {}", count,
                     p.num_heads);
}

// The soft mask at a distance, as the paper writes it.
struct SoftMask {
  double span, ramp;
  Index offset;
  double at(Index distance) const {
    const double x = static_cast<double>(distance - offset);
    return std::clamp((ramp + span - x) / ramp, 0.0, 1.0);
  }
};

// What one head sees: distances up to `full` as they are, up to `reach` on the ramp.
struct Reach {
  Reach(const SoftMask& soft, Index farthest) {
    const auto cut = [&](double distance) {  // also keeps what is cast in range
      return static_cast<Index>(std::min(distance, static_cast<double>(farthest)));
    };
    full = std::min(cut(std::floor(soft.span)) + soft.offset, farthest);
    reach = std::min(cut(std::ceil(soft.ramp + soft.span) - 1) + soft.offset, farthest);
    for (Index x = full + 1; x <= reach; ++x) {
      log_ramp.push_back(static_cast<float>(std::log(soft.at(x))));
    }
  }
  Index full, reach;
  std::vector<float> log_ramp;  // log m at distances full + 1 .. reach
};

struct Pattern {
  Pattern(const Problem& p, const Options& options)
      : problem(p), include_self(options.boolean("include_self")) {
    const Index farthest = std::max({p.key_len, p.query_len, Index{1}}) - 1;
    const std::vector<double> spans = spans_of_heads(p, options);
    std::vector<double> distinct;
    for (double span : spans) {
      soft.push_back({span, options.number("ramp"), options.integer("offset")});
      const auto same = std::ranges::find(distinct, span);
      reach_of_head.push_back(static_cast<size_t>(same - distinct.begin()));
      if (same != distinct.end()) continue;
      distinct.push_back(span);
      reaches.emplace_back(soft.back(), farthest);
    }
  }
  const Reach& reach(Index head) const { return reaches[reach_of_head[static_cast<size_t>(head)]]; }

  const Problem& problem;
  bool include_self;
  std::vector<SoftMask> soft;  // of each head
  std::vector<Reach> reaches;  // of each distinct span
  std::vector<size_t> reach_of_head;
};

class SpanSchedule final : public BlockSchedule {
 public:
  explicit SpanSchedule(const Pattern& pattern)
      : BlockSchedule(default_query_block(), default_key_block(pattern.problem)),
        pattern_(pattern) {
    // Packing keys tile by tile reads no others, but some twice; beyond that one copy is cheaper.
    double gathered = 0;
    const Problem& p = pattern.problem;
    for (Index h = 0; h < p.num_heads; ++h) {
      const Index wide = query_block() + (p.mask.causal ? 1 : 2) * pattern.reach(h).reach;
      gathered += static_cast<double>(num_blocks(0, h) * std::min(wide, p.key_len));
    }
    shares_ = gathered > 2 * static_cast<double>(p.num_kv_heads * p.key_len);
  }

  Index num_blocks(Index, Index) const override {
    return (pattern_.problem.query_len + query_block() - 1) / query_block();
  }
  TokenSet queries(Index, Index, Index block) const override {
    const Index first = block * query_block();
    return {first, std::min(query_block(), pattern_.problem.query_len - first)};
  }
  Index max_sources() const override { return 1; }
  Index sources(Index b, Index head, Index block, std::span<KeySource> out) const override {
    const Problem& p = pattern_.problem;
    const TokenSet rows = queries(b, head, block);
    const KeyRange visible = visible_range(p, b, rows);
    const Index reach = pattern_.reach(head).reach;
    const Index begin = std::max(p.position(rows[0]) - reach, visible.begin);
    const Index end = std::min(p.position(rows[rows.count - 1]) + reach + 1, visible.end);
    if (begin >= end) return 0;
    out[0] = {{begin, end - begin}, true};
    return 1;
  }

  void mask(const Tile& tile, TileMask& mask) const override {
    const Problem& p = pattern_.problem;
    apply_mask(p, tile, mask);
    const Reach& head = pattern_.reach(tile.head);
    for (Index r = 0; r < mask.rows; ++r) {
      const Index self = p.position(tile.queries[r]) - tile.keys.begin;  // its column
      mask.clip(r, self - head.reach, self + head.reach + 1);
      if (!pattern_.include_self) leave_out(r, self, mask);
      add_ramp(r, self, head, mask);
    }
  }
  bool shares_packed_keys() const override { return shares_; }

 private:
  static void leave_out(Index r, Index column, TileMask& mask) {
    if (column < mask.begin[r] || column >= mask.end[r]) return;
    if (column + 1 == mask.end[r]) {
      --mask.end[r];
    } else if (column == mask.begin[r]) {
      ++mask.begin[r];
    } else {
      mask.hide(r, column);
    }
  }

  // exp(s + log m) = m exp(s).
  static void add_ramp(Index r, Index self, const Reach& head, TileMask& mask) {
    const Index left_end = std::min(mask.end[r], self - head.full);
    const Index right_begin = std::max(mask.begin[r], self + head.full + 1);
    if (mask.begin[r] >= left_end && right_begin >= mask.end[r]) return;
    mask.use_bias();
    float* bias = mask.bias.data() + r * mask.columns;
    const float* log_ramp = head.log_ramp.data();
    for (Index c = mask.begin[r]; c < left_end; ++c) bias[c] += log_ramp[self - head.full - 1 - c];
    for (Index c = right_begin; c < mask.end[r]; ++c) bias[c] += log_ramp[c - self - head.full - 1];
  }

  const Pattern& pattern_;
  bool shares_ = true;
};

// Rows by the formula, in double.
class SpanDefinition final : public Definition {
 public:
  SpanDefinition(const Problem& p, const SoftMask& soft, bool include_self, const Inputs& inputs,
                 Index batch_entry, Index head)
      : p_(p),
        soft_(soft),
        include_self_(include_self),
        inputs_(inputs),
        batch_entry_(batch_entry),
        head_(head) {}

  Rows rows(std::span<const Index> queries) const override {
    const auto count = static_cast<Index>(queries.size());
    Rows result;
    result.weights = Eigen::MatrixXd::Zero(count, p_.key_len);
    result.score_bound = Eigen::VectorXd::Zero(count);
    result.logsumexp = Eigen::VectorXd::Constant(count, -std::numeric_limits<double>::infinity());
    for (Index r = 0; r < count; ++r) fill(result, r, queries[static_cast<size_t>(r)]);
    return result;
  }

 private:
  double soft_mask(Index query, Index key) const {
    const Index distance = std::abs(p_.position(query) - key);
    return distance == 0 && !include_self_ ? 0.0 : soft_.at(distance);
  }

  void fill(Rows& result, Index r, Index query) const {
    Eigen::VectorXd q(p_.head_dim), k(p_.head_dim), scores(p_.key_len), soft(p_.key_len);
    load_row(inputs_.queries, batch_entry_, head_, query, q.data());
    double largest = -std::numeric_limits<double>::infinity();
    for (Index j = 0; j < p_.key_len; ++j) {
      soft(j) = p_.visible(batch_entry_, query, j) ? soft_mask(query, j) : 0.0;
      if (soft(j) == 0) continue;
      load_row(inputs_.keys, batch_entry_, p_.kv_head(head_), j, k.data());
      const double bias = p_.bias(head_, query, j);
      scores(j) = p_.effective_scale() * q.dot(k) + bias;
      largest = std::max(largest, scores(j));
      const double bound = std::abs(p_.effective_scale()) * q.cwiseAbs().dot(k.cwiseAbs()) +
                           std::abs(bias) + std::abs(std::log(soft(j)));
      result.score_bound(r) = std::max(result.score_bound(r), bound);
    }
    double sum = 0;
    for (Index j = 0; j < p_.key_len; ++j) {
      if (soft(j) == 0) continue;
      result.weights(r, j) = soft(j) * std::exp(scores(j) - largest);
      sum += result.weights(r, j);
    }
    if (sum == 0) return;
    result.weights.row(r) /= sum;
    result.logsumexp(r) = largest + std::log(sum);
  }

  const Problem p_;
  const SoftMask soft_;
  const bool include_self_;
  const Inputs inputs_;
  const Index batch_entry_, head_;
};

class AdaptiveSpan final : public Attention {
 public:
  AdaptiveSpan(const Problem& p, const Options& options)
      : Attention(p), pattern_(problem(), options), schedule_(pattern_) {}

  std::unique_ptr<Definition> definition(const Inputs& inputs, Index b, Index head) const override {
    return std::make_unique<SpanDefinition>(problem(), pattern_.soft[static_cast<size_t>(head)],
                                            pattern_.include_self, inputs, b, head);
  }
  Cost cost(int threads) const override {
    return blocked_cost(problem(), schedule_, scored_pairs(), threads);
  }
  Rounding rounding() const override {
    Rounding rounding = blocked_rounding(problem(), schedule_.key_block());
    rounding.score_roundings += 2;  // log m, and its sum with another bias
    return rounding;
  }

 private:
  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context& context) const override {
    blocked_attention(problem(), inputs, schedule_, outputs, context);
  }

  double scored_pairs() const {
    std::vector<double> pairs;  // of a head, for each distinct span
    for (const Reach& reach : pattern_.reaches) {
      pairs.push_back(sum_over_queries(problem(), [&](Index position, Index end) {
        const Index first = std::max(position - reach.reach, Index{0});
        const Index last = std::min(position + reach.reach + 1, end);
        const bool self = !pattern_.include_self && first <= position && position < last;
        return std::max(last - first, Index{0}) - (self ? 1 : 0);
      }));
    }
    double sum = 0;
    for (size_t n : pattern_.reach_of_head) sum += pairs[n];
    return sum;
  }

  const Pattern pattern_;
  const SpanSchedule schedule_;
};

Traits traits_of(const Problem& p, const Options& options) {
  const Pattern pattern(p, options);
  Traits traits;
  const Index farthest = std::max({p.key_len, p.query_len, Index{1}}) - 1;
  const bool hard = std::ranges::all_of(pattern.reaches,
                                        [](const Reach& reach) { return reach.log_ramp.empty(); });
  traits.rows = hard ? Traits::Rows::restricted : Traits::Rows::stochastic;
  traits.heads_alike = pattern.reaches.size() <= 1;
  traits.exact = pattern.include_self &&
                 std::ranges::all_of(pattern.reaches,
                                     [&](const Reach& reach) { return reach.full >= farthest; });
  return traits;
}

}  // namespace

const Variant kAdaptiveSpan = {
    .name = "adaptive_span",
    .summary = "a window with a soft edge, of its own length in every head",
    .paper = "Sukhbaatar et al. 2019, Adaptive Attention Span in Transformers, section 2.2",
    .options = {{.name = "span",
                 .type = OptionType::numbers_or_path,
                 .default_value = std::vector<double>{256},
                 .doc = "tokens before the ramp: for all heads, one a head, or a .npy file",
                 .minimum = 0,
                 .nested = true},
                {.name = "ramp",
                 .type = OptionType::number,
                 .default_value = 32.0,
                 .doc = "tokens over which the mask falls from 1 to 0",
                 .minimum = 1,
                 .nested = true},
                {.name = "offset",
                 .type = OptionType::integer,
                 .default_value = Index{0},
                 .doc =
                     "tokens by which the mask is moved out: 0 as in the paper, 1 as in its code",
                 .minimum = 0,
                 .maximum = 1,
                 .nested = true},
                {.name = "include_self",
                 .type = OptionType::boolean,
                 .default_value = true,
                 .doc = "whether a token attends to itself; the paper's does not"}},
    .extra = {},
    .unsupported = why_unsupported,
    .traits = traits_of,
    .growth = [](const Options&) { return Growth{.time = 1, .memory = 1}; },
    .make = [](const Problem& problem, const Options& options) -> std::unique_ptr<const Attention> {
      return std::make_unique<AdaptiveSpan>(problem, options);
    },
};

}  // namespace longattn

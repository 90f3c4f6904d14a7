#include "variants/reformer/reformer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "core/blocked_attention.h"
#include "variants/reformer/lsh_attention.h"
#include "variants/reformer/lsh_definition.h"
#include "variants/reformer/lsh_gathered.h"
#include "variants/reformer/lsh_rounds.h"

namespace longattn {
namespace {

// Heads first .. first + count of one batch entry.
template <class View>
View heads_of(View view, Index b, Index first, Index count) {
  if (view.empty()) return view;
  view.data = view.row(b, first, 0);
  view.shape[0] = 1;
  view.shape[1] = count;
  return view;
}

// What the engine computes at a time: one group, its mask in the schedule.
Problem group_problem(const Problem& p, const LshSettings& s) {
  Problem group = p;
  group.batch = group.num_kv_heads = 1;
  group.num_heads = s.shared_qk ? 1 : p.num_heads / p.num_kv_heads;
  group.scale = p.effective_scale();
  group.mask = {};
  return group;
}

constexpr Index kMostRounds = 64;

class Reformer final : public Attention {
 public:
  Reformer(const Problem& p, const Options& options)
      : Attention(p),
        settings_(problem(), options),
        hash_(problem(), settings_),
        group_(group_problem(problem(), settings_)) {}

  std::unique_ptr<Definition> definition(const Inputs& inputs, Index b, Index head) const override {
    return lsh_definition(problem(), settings_, hash_, inputs, b, head);
  }

  std::unique_ptr<Definition> own_full_attention(const Inputs& inputs, Index b,
                                                 Index head) const override {
    return settings_.shared_qk ? full_shared_definition(problem(), inputs, b, head) : nullptr;
  }

  Cost cost(int threads) const override {
    const Problem& p = problem();
    Cost cost;
    cost.scored_pairs = scored_pairs();
    cost.flops = 2 * cost.scored_pairs * static_cast<double>(p.head_dim + p.value_dim);
    const Index hashed =
        p.num_heads * p.query_len + (settings_.shared_qk ? 0 : p.num_kv_heads * p.key_len);
    cost.flops += 2 * static_cast<double>(p.batch * hashed * p.head_dim) *
                  static_cast<double>(hash_.directions());
    cost.bytes_moved = least_traffic(p);
    cost.held_bytes = static_cast<double>(hash_.bytes());
    cost.workspace_bytes = static_cast<double>(
        LshRounds::bytes(p, settings_, hash_, group_.num_heads, threads) + copied_bytes() +
        lsh_attention_bytes(p, settings_, group_.num_heads, threads));
    return cost;
  }

  Rounding rounding() const override {
    const Index keys = problem().key_len, window = settings_.window(keys);
    Rounding rounding = blocked_rounding(group_, kLshTile);
    rounding.probability_rounding = 0;  // 16-bit storage is read as float32
    rounding.score_roundings += settings_.shared_qk ? 2 : 0;
    // Tiles in which a row sees keys that it has not seen before, each of which may rescale: its
    // range of each round is cut at any place, and so is the wrapped one.
    const Index tiles = std::min(settings_.rounds * (window / kLshTile + 4), keys);
    rounding.sum_roundings =
        static_cast<double>(std::min(settings_.rounds * window, keys) + 6 * tiles + 8);
    return rounding;
  }

 private:
  // Pairs that may get a score: of each round, at most a window of the keys the mask shows.
  double scored_pairs() const {
    const Problem& p = problem();
    double pairs = 0;
    for (Index b = 0; b < p.batch; ++b) {
      const Index window = settings_.window(p.visible_key_len(b));
      for (Index i = 0; i < p.query_len; ++i) {
        pairs += static_cast<double>(settings_.rounds * std::min(p.visible_end(b, i), window));
      }
    }
    return pairs * static_cast<double>(p.num_heads);
  }

  Index copied_bytes() const {
    if (!settings_.shared_qk) return 0;
    return Workspace::bytes_for<float>(problem().key_len * problem().head_dim);
  }

  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context& context) const override {
    const Problem& p = problem();
    for (Index b = 0; b < p.batch; ++b) {
      for (Index head = 0; head < p.num_heads; head += group_.num_heads) {
        const Workspace::Scope scope(context.workspace());
        const LshGroup group{b, head, group_.num_heads};
        const LshRounds rounds(p, settings_, hash_, inputs, group, context);
        lsh_attention(rounds, group_inputs(inputs, group, context),
                      {heads_of(outputs.output, b, head, group.heads),
                       heads_of(outputs.logsumexp, b, head, group.heads)},
                      context);
      }
    }
  }

  Inputs group_inputs(const Inputs& inputs, const LshGroup& group, Context& context) const {
    const Index b = group.batch_entry, kv_head = problem().kv_head(group.first_head);
    Inputs own{heads_of(inputs.queries, b, group.first_head, group.heads),
               heads_of(inputs.keys, b, kv_head, 1),
               heads_of(inputs.values, b, kv_head, 1),
               {}};
    if (!settings_.shared_qk) return own;
    own.keys = unit_rows(own.queries, context);
    return own;
  }

  // A float32 copy of the rows of one head, divided by their norms.
  static ConstTensorView unit_rows(const ConstTensorView& view, Context& context) {
    const Index dim = view.dim();
    const std::span<float> copy = context.workspace().take<float>(view.len() * dim);
    constexpr Index kChunk = 256;
    context.arena().for_each((view.len() + kChunk - 1) / kChunk, [&](Index chunk, int) {
      for (Index i = chunk * kChunk; i < std::min((chunk + 1) * kChunk, view.len()); ++i) {
        float* out = copy.data() + i * dim;
        load_floats(view.dtype, view.row(0, 0, i), dim, out);
        double square = 0;
        for (Index c = 0; c < dim; ++c) square += double{out[c]} * double{out[c]};
        if (square == 0) continue;
        const double norm = std::sqrt(square);
        for (Index c = 0; c < dim; ++c) out[c] = static_cast<float>(double{out[c]} / norm);
      }
    });
    return {copy.data(), DType::float32, view.shape, dense_strides(view.shape)};
  }

  const LshSettings settings_;
  const LshHash hash_;
  const Problem group_;
};

Traits traits(const Problem& p, const Options& options) {
  const LshSettings s(p, options);
  Traits traits;
  if (s.shared_qk) traits.rows = Traits::Rows::stochastic;  // of other keys than those given
  traits.nests = !s.shared_qk;  // a token drops out of its own row when another comes in
  const bool one_bucket = s.num_buckets() == 1;
  const bool sees_all_chunks = s.chunks(std::max<Index>(p.key_len, 1)) <= s.look_back + 1 &&
                               (s.wrap_around || s.look_back == 0);
  traits.exact = !s.shared_qk && (one_bucket || (s.across_buckets && sees_all_chunks));
  traits.causality =
      one_bucket ? Traits::Causality::strict : Traits::Causality::selection_sees_future;
  traits.content_based = !one_bucket;
  traits.heads_alike = one_bucket;
  traits.prefix_stable = one_bucket;
  return traits;
}

}  // namespace

const Variant kReformer = {
    .name = "reformer",
    .summary = "locality-sensitive hashing: keys of the query's bucket, several rounds united",
    .paper = "Kitaev, Kaiser & Levskaya 2020, Reformer: The Efficient Transformer, section 2",
    .options =
        {{.name = "num_hashes",
          .type = OptionType::integer,
          .default_value = Index{4},
          .doc = "rounds of hashing",
          .minimum = 1,
          .maximum = kMostRounds,
          .nested = true},
         {.name = "bucket_size",
          .type = OptionType::integer,
          .default_value = Automatic{},
          .doc = "tokens a bucket on average, half a chunk; auto: 64, or what num_buckets makes it",
          .minimum = 1,
          .may_be_auto = true},
         {.name = "num_buckets",
          .type = OptionType::integer,
          .default_value = Automatic{},
          .doc = "buckets, 1 or even; auto: as many as bucket_size makes",
          .minimum = 1,
          .may_be_auto = true},
         {.name = "look_back",
          .type = OptionType::integer,
          .default_value = Index{1},
          .doc = "chunks seen before the query's own",
          .minimum = 0,
          .nested = true},
         {.name = "shared_qk",
          .type = OptionType::boolean,
          .default_value = false,
          .doc = "keys are the normalised queries, and a token weighs itself only if alone"},
         {.name = "across_buckets",
          .type = OptionType::boolean,
          .default_value = false,
          .doc = "whether keys of other buckets in the same chunks are seen"},
         {.name = "wrap_around",
          .type = OptionType::boolean,
          .default_value = false,
          .doc = "whether the first chunks look back to the last ones, as published programs do"},
         {.name = "seed",
          .type = OptionType::integer,
          .default_value = Index{1},
          .doc = "of the rotations",
          .minimum = 0}},
    .extra = {},
    .unsupported = [](const Problem& p, const Options& options) -> std::string {
      return LshSettings::refusal(p, options);
    },
    .traits = traits,
    .growth = [](const Options&) { return Growth{.time = 1, .memory = 1}; },
    .make = [](const Problem& problem, const Options& options) -> std::unique_ptr<const Attention> {
      return std::make_unique<Reformer>(problem, options);
    },
};

}  // namespace longattn

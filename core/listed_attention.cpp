#include "core/listed_attention.h"

#include <algorithm>
#include <vector>

#include "core/blocked_attention.h"
#include "core/softmax_definition.h"
#include "core/visibility.h"

namespace longattn {
namespace {

constexpr Index kChunk = 256;  // queries whose lists exist at a time

// Some queries of one head, each a block of its own with its list of keys.
class ListedSchedule final : public BlockSchedule {
 public:
  ListedSchedule(const Problem& problem, Index count)
      : BlockSchedule(1, default_key_block(problem)), problem_(problem), count_(count) {}

  // Which head, its first query, and [count, max_keys] lists.
  void attend_to(Index batch_entry, Index head, Index first) {
    batch_entry_ = batch_entry;
    head_ = head;
    first_ = first;
  }
  void read(const Index* keys, const Index* counts, Index max_keys) {
    keys_ = keys;
    counts_ = counts;
    max_keys_ = max_keys;
  }

  Index num_blocks(Index batch_entry, Index head) const override {
    return batch_entry == batch_entry_ && head == head_ ? count_ : 0;
  }
  TokenSet queries(Index, Index, Index block) const override { return {first_ + block, 1}; }
  Index max_sources() const override { return 1; }
  Index sources(Index, Index, Index block, std::span<KeySource> out) const override {
    if (counts_[block] == 0) return 0;
    const bool biased = !problem_.mask.alibi_slopes.empty();
    out[0] = {{0, counts_[block], 1, keys_ + block * max_keys_}, biased};
    return 1;
  }
  void mask(const Tile& tile, TileMask& mask) const override { apply_mask(problem_, tile, mask); }
  bool shares_packed_keys() const override { return false; }

 private:
  const Problem& problem_;
  const Index count_;
  Index batch_entry_ = 0, head_ = 0, first_ = 0;
  const Index *keys_ = nullptr, *counts_ = nullptr;
  Index max_keys_ = 0;
};

Index chunk_of(const Problem& p) { return std::min(kChunk, p.query_len); }

class ListedDefinition final : public Definition {
 public:
  ListedDefinition(const Problem& problem, const Inputs& inputs, const KeyChooser& chooser,
                   Index batch_entry, Index head)
      : problem_(problem),
        inputs_(inputs),
        chooser_(chooser),
        batch_entry_(batch_entry),
        head_(head) {}

  Rows rows(std::span<const Index> queries) const override {
    std::vector<Index> keys(static_cast<size_t>(chooser_.max_keys()));
    Workspace workspace;
    const auto scratch = workspace.take<std::byte>(chooser_.scratch_bytes());
    std::vector<std::vector<bool>> chosen(static_cast<size_t>(problem_.query_len));
    for (Index query : queries) {
      auto& row = chosen[static_cast<size_t>(query)];
      row.assign(static_cast<size_t>(problem_.key_len), false);
      Index count = 0;
      chooser_.choose(inputs_, batch_entry_, head_, {query, 1}, scratch.data(), keys.data(),
                      &count);
      for (Index n = 0; n < count; ++n) {
        row[static_cast<size_t>(keys[static_cast<size_t>(n)])] = true;
      }
    }
    return softmax_definition(problem_, inputs_, batch_entry_, head_,
                              [&](Index query, Index key) {
                                return chosen[static_cast<size_t>(query)][static_cast<size_t>(key)];
                              })
        ->rows(queries);
  }

 private:
  const Problem& problem_;
  const Inputs inputs_;
  const KeyChooser& chooser_;
  const Index batch_entry_, head_;
};

}  // namespace

std::unique_ptr<Definition> ListedAttention::definition(const Inputs& inputs, Index batch_entry,
                                                        Index head) const {
  return std::make_unique<ListedDefinition>(problem(), inputs, chooser(), batch_entry, head);
}

Attention::Rounding ListedAttention::rounding() const {
  return blocked_rounding(problem(), default_key_block(problem()));
}

Cost ListedAttention::listed_cost(double pairs, int threads) const {
  const Problem& p = problem();
  Cost cost;
  cost.scored_pairs = pairs;
  cost.flops = 2 * pairs * static_cast<double>(p.head_dim + p.value_dim);
  cost.bytes_moved = least_traffic(p);
  if (p.query_len == 0) return cost;
  const Index chunk = chunk_of(p), last = p.query_len - (p.query_len - 1) / chunk * chunk;
  const Index engine = std::max(blocked_workspace_bytes(p, ListedSchedule(p, chunk), threads),
                                blocked_workspace_bytes(p, ListedSchedule(p, last), threads));
  cost.workspace_bytes = static_cast<double>(
      engine + Workspace::bytes_for<Index>(chunk * chooser().max_keys()) +
      Workspace::bytes_for<Index>(chunk) + threads * Workspace::rounded(chooser().scratch_bytes()));
  return cost;
}

void ListedAttention::forward_impl(const Inputs& inputs, const Outputs& outputs,
                                   Context& context) const {
  const Problem& p = problem();
  const KeyChooser& chosen = chooser();
  Workspace& workspace = context.workspace();
  const Workspace::Scope scope(workspace);
  const Index chunk = chunk_of(p), most = chosen.max_keys();
  const auto keys = workspace.take<Index>(chunk * most);
  const auto counts = workspace.take<Index>(chunk);
  const Index stride = Workspace::rounded(chosen.scratch_bytes());
  const auto scratch = workspace.take<std::byte>(context.threads() * stride);
  for (Index b = 0; b < p.batch; ++b) {
    for (Index h = 0; h < p.num_heads; ++h) {
      for (Index first = 0; first < p.query_len; first += chunk) {
        const Index count = std::min(chunk, p.query_len - first);
        const Index groups = (count + KeyChooser::kGroup - 1) / KeyChooser::kGroup;
        context.arena().for_each(groups, [&](Index group, int worker) {
          const Index begin = group * KeyChooser::kGroup;
          chosen.choose(inputs, b, h, {first + begin, std::min(KeyChooser::kGroup, count - begin)},
                        scratch.data() + worker * stride, keys.data() + begin * most,
                        counts.data() + begin);
        });
        ListedSchedule schedule(p, count);
        schedule.attend_to(b, h, first);
        schedule.read(keys.data(), counts.data(), most);
        blocked_attention(p, inputs, schedule, outputs, context);
      }
    }
  }
}

}  // namespace longattn

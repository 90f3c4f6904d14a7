#include "core/blocked_attention.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <memory>
#include <numbers>
#include <numeric>
#include <tuple>
#include <type_traits>

#include "core/blocked_layout.h"
#include "core/blocked_tile.h"

namespace longattn {
namespace {

using kernels::kPanel;
using kernels::round_up;

constexpr float kNothing = -std::numeric_limits<float>::infinity();
// Running softmax of one part of one block, when keys are split.
struct PartState {
  float *accumulator, *maximum, *sum;
};

class Pass {
 public:
  Pass(const Problem& problem, const Inputs& inputs, const BlockSchedule& schedule,
       const Outputs* outputs, const SoftmaxState* state, Context& context)
      : p_(problem),
        inputs_(inputs),
        schedule_(schedule),
        outputs_(outputs),
        state_(state),
        context_(context),
        layout_(problem, schedule) {}

  void run() {
    if (layout_.blocks == 0) return;
    Workspace& workspace = context_.workspace();
    const Workspace::Scope scope(workspace);
    tasks_ = workspace.take<BlockedTask>(layout_.blocks);
    packed_ = workspace.take<float>(layout_.packed_keys());
    if (layout_.parts > 1) {
      const Index count = layout_.blocks * layout_.parts * layout_.rows;
      part_accumulators_ = workspace.take<float>(count * layout_.value_columns);
      part_maxima_ = workspace.take<float>(count);
      part_sums_ = workspace.take<float>(count);
    }
    const std::span<BlockedScratch> scratch = workspace.take<BlockedScratch>(context_.threads());
    for (BlockedScratch& worker : scratch) std::construct_at(&worker, layout_, workspace);

    list_tasks(scratch[0]);
    pack_keys(scratch);
    const Index parts = layout_.parts;
    context_.arena().for_each(layout_.blocks * parts, [&](Index n, int worker) {
      attend(n / parts, n % parts, scratch[static_cast<size_t>(worker)]);
    });
    if (parts > 1) {
      context_.arena().for_each(layout_.blocks, [&](Index n, int worker) {
        merge(n, scratch[static_cast<size_t>(worker)]);
      });
    }
  }

 private:
  // All query blocks: head by head, because a head's keys and values stay in the shared cache, and
  // in each those with most keys first, so that no thread is left with a long one alone.
  void list_tasks(BlockedScratch& scratch) {
    size_t n = 0;
    for (Index b = 0; b < p_.batch; ++b) {
      for (Index h = 0; h < p_.num_heads; ++h) {
        const Index blocks = schedule_.num_blocks(b, h);
        for (Index block = 0; block < blocks; ++block) {
          const Index count = schedule_.sources(b, h, block, scratch.sources);
          double keys = 0;
          for (Index s = 0; s < count; ++s) {
            keys += static_cast<double>(scratch.sources[static_cast<size_t>(s)].keys.count);
          }
          tasks_[n++] = {b, h, block,
                         keys * static_cast<double>(schedule_.queries(b, h, block).count)};
        }
      }
    }
    std::sort(tasks_.begin(), tasks_.end(), [](const BlockedTask& x, const BlockedTask& y) {
      return std::tie(x.batch_entry, x.head, y.cost, x.block) <
             std::tie(y.batch_entry, y.head, x.cost, y.block);
    });
  }

  float* packed_keys(Index batch_entry, Index kv_head) {
    return packed_.data() +
           (batch_entry * p_.num_kv_heads + kv_head) * layout_.panels * kPanel * layout_.depth;
  }

  void pack_keys(std::span<BlockedScratch> scratch) {
    if (layout_.panels == 0) return;
    constexpr Index kPanelsPerTask = 8;
    const Index chunks = (layout_.panels + kPanelsPerTask - 1) / kPanelsPerTask;
    context_.arena().for_each(p_.batch * p_.num_kv_heads * chunks, [&](Index n, int worker) {
      const Index kv = n / chunks, b = kv / p_.num_kv_heads, h = kv % p_.num_kv_heads;
      const Index first = n % chunks * kPanelsPerTask;
      const Index last = std::min(first + kPanelsPerTask, layout_.panels);
      const Index end = p_.visible_key_len(b);  // padding is never read
      BlockedTile tile(layout_, inputs_, scratch[static_cast<size_t>(worker)]);
      for (Index panel = first; panel < last; ++panel) {
        const Index key = panel * kPanel;
        tile.pack_keys(b, h, {key, std::clamp(end - key, Index{0}, kPanel)},
                       packed_keys(b, h) + key * layout_.depth);
      }
    });
  }

  PartState part_state(Index task, Index part) {
    const Index row = (task * layout_.parts + part) * layout_.rows;
    return {part_accumulators_.data() + row * layout_.value_columns, part_maxima_.data() + row,
            part_sums_.data() + row};
  }

  void attend(Index task_index, Index part, BlockedScratch& scratch) {
    const BlockedTask& task = tasks_[static_cast<size_t>(task_index)];
    const TokenSet queries = schedule_.queries(task.batch_entry, task.head, task.block);
    assert(queries.count <= layout_.rows);
    BlockedTile worker(layout_, inputs_, scratch);
    worker.pack_queries(task.batch_entry, task.head, queries);
    start(task, queries, part, scratch);

    const Index count = schedule_.sources(task.batch_entry, task.head, task.block, scratch.sources);
    const auto sources = scratch.sources.first(static_cast<size_t>(count));
    const Index tiles =
        std::accumulate(sources.begin(), sources.end(), Index{0},
                        [&](Index n, const KeySource& s) { return n + tiles_of(s); });
    const Index first = part * tiles / layout_.parts, last = (part + 1) * tiles / layout_.parts;
    Index passed = 0;
    for (const KeySource& source : sources) {
      const Index here = tiles_of(source);
      for (Index n = std::max(first - passed, Index{0}); n < std::min(here, last - passed); ++n) {
        attend_tile(task, queries, source, n, worker);
      }
      passed += here;
    }
    if (layout_.parts == 1) {
      write(task, queries, scratch);
    } else {
      const PartState to = part_state(task_index, part);
      const auto cells = static_cast<size_t>(queries.count * layout_.value_columns);
      std::copy_n(scratch.accumulator.data(), cells, to.accumulator);
      std::copy_n(scratch.maximum.data(), queries.count, to.maximum);
      std::copy_n(scratch.sum.data(), queries.count, to.sum);
    }
  }

  // A contiguous source is cut at multiples of key_block from the panel in which it starts.
  static Index tile_origin(const KeySource& source) {
    return source.keys.contiguous() ? source.keys.begin / kPanel * kPanel : 0;
  }
  Index key_step() const { return round_up(schedule_.key_block(), kPanel); }
  Index tiles_of(const KeySource& source) const {
    if (source.keys.count == 0) return 0;
    const Index span = source.keys.contiguous()
                           ? source.keys.begin + source.keys.count - tile_origin(source)
                           : source.keys.count;
    const Index step = source.keys.contiguous() ? key_step() : schedule_.key_block();
    return (span + step - 1) / step;
  }

  void start(const BlockedTask& task, const TokenSet& queries, Index part,
             BlockedScratch& scratch) {
    std::fill_n(scratch.accumulator.data(), queries.count * layout_.value_columns, 0.0f);
    std::fill_n(scratch.maximum.data(), queries.count, kNothing);
    std::fill_n(scratch.sum.data(), queries.count, 0.0f);
    if (state_ == nullptr || part > 0) return;
    for (Index r = 0; r < queries.count; ++r) {
      const Index query = queries[r];
      std::copy_n(state_->accumulator.row(task.batch_entry, task.head, query), p_.value_dim,
                  scratch.accumulator.data() + r * layout_.value_columns);
      scratch.maximum[r] = *state_->maximum.row(task.batch_entry, task.head, query);
      scratch.sum[r] = *state_->sum.row(task.batch_entry, task.head, query);
    }
  }

  void attend_tile(const BlockedTask& task, const TokenSet& queries, const KeySource& source,
                   Index n, BlockedTile& worker) {
    Tile tile{task.batch_entry, task.head, queries, {}};
    if (!source.keys.contiguous()) {
      const Index begin = n * schedule_.key_block();
      tile.keys =
          source.keys.slice(begin, std::min(schedule_.key_block(), source.keys.count - begin));
      worker.attend(tile, {0, tile.keys.count}, source.partial, nullptr);
      return;
    }
    const Index begin = tile_origin(source) + n * key_step();
    const Index end = std::min(begin + key_step(), source.keys.begin + source.keys.count);
    tile.keys = {begin, end - begin};
    const float* panels = nullptr;
    if (layout_.panels > 0) {
      panels = packed_keys(task.batch_entry, p_.kv_head(task.head)) + begin * layout_.depth;
    }
    worker.attend(tile, {std::max(source.keys.begin - begin, Index{0}), end - begin},
                  source.partial, panels);
  }

  // Merges the parts of one block in order, into the state of the first.
  void merge(Index task_index, BlockedScratch& scratch) {
    const BlockedTask& task = tasks_[static_cast<size_t>(task_index)];
    const TokenSet queries = schedule_.queries(task.batch_entry, task.head, task.block);
    const Index width = layout_.value_columns;
    for (Index r = 0; r < queries.count; ++r) {
      float* accumulator = scratch.accumulator.data() + r * width;
      float maximum = kNothing;
      for (Index part = 0; part < layout_.parts; ++part) {
        maximum = std::max(maximum, part_state(task_index, part).maximum[r]);
      }
      std::fill_n(accumulator, width, 0.0f);
      float sum = 0;
      for (Index part = 0; part < layout_.parts; ++part) {
        const PartState from = part_state(task_index, part);
        if (from.maximum[r] == kNothing && from.sum[r] == 0) continue;
        const float difference = from.maximum[r] - maximum;
        const float factor = from.maximum[r] == maximum ? 1.0f : std::exp2(difference);
        sum += factor * from.sum[r];
        for (Index c = 0; c < width; ++c) {
          accumulator[c] += factor * from.accumulator[r * width + c];
        }
      }
      scratch.maximum[r] = maximum;
      scratch.sum[r] = sum;
    }
    write(task, queries, scratch);
  }

  void write(const BlockedTask& task, const TokenSet& queries,
             const BlockedScratch& scratch) const {
    for (Index r = 0; r < queries.count; ++r) {
      const Index query = queries[r];
      const float* accumulator = scratch.accumulator.data() + r * layout_.value_columns;
      const float sum = scratch.sum[r];
      if (state_ != nullptr) {
        std::copy_n(accumulator, p_.value_dim,
                    state_->accumulator.row(task.batch_entry, task.head, query));
        *state_->maximum.row(task.batch_entry, task.head, query) = scratch.maximum[r];
        *state_->sum.row(task.batch_entry, task.head, query) = sum;
        continue;
      }
      // sum is 0 only where nothing was visible: the largest visible score adds 1.
      const float inverse = sum == 0 ? 0.0f : 1.0f / sum;
      float* output = outputs_->output.row(task.batch_entry, task.head, query);
      for (Index c = 0; c < p_.value_dim; ++c) output[c] = accumulator[c] * inverse;
      if (!outputs_->logsumexp.empty()) {
        *outputs_->logsumexp.row(task.batch_entry, task.head, query) =
            logsumexp_from(scratch.maximum[r], sum);
      }
    }
  }

 private:
  const Problem& p_;
  const Inputs& inputs_;
  const BlockSchedule& schedule_;
  const Outputs* outputs_;
  const SoftmaxState* state_;
  Context& context_;
  const BlockedLayout layout_;
  std::span<BlockedTask> tasks_;
  std::span<float> packed_, part_accumulators_, part_maxima_, part_sums_;
};

}  // namespace

void blocked_attention(const Problem& problem, const Inputs& inputs, const BlockSchedule& schedule,
                       const Outputs& outputs, Context& context) {
  Pass(problem, inputs, schedule, &outputs, nullptr, context).run();
}

void accumulate_attention(const Problem& problem, const Inputs& inputs,
                          const BlockSchedule& schedule, const SoftmaxState& state,
                          Context& context) {
  Pass(problem, inputs, schedule, nullptr, &state, context).run();
}

}  // namespace longattn

#include "core/blocked_attention.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <cmath>
#include <limits>
#include <memory>
#include <numbers>
#include <numeric>
#include <thread>
#include <tuple>
#include <type_traits>

#include "core/blocked_layout.h"
#include "core/blocked_tasks.h"
#include "core/blocked_tile.h"

namespace longattn {
namespace {

using kernels::kPanel;
using kernels::kStrip;
using kernels::kTallStrip;
using kernels::round_up;

constexpr Index kNarrow = 1024;  // keys that a block reads
constexpr float kNothing = -std::numeric_limits<float>::infinity();
// Running softmax of one part of one block, when keys are split.
struct PartState {
  float *accumulator, *maximum, *sum;
};

// Where a pass starts from, nullptr: nothing seen yet; and where it leaves its result, nullptr: in
// the outputs, which then are given.
struct PassEnds {
  const SoftmaxState* from = nullptr;
  const SoftmaxState* to = nullptr;
  const Outputs* outputs = nullptr;
};

class Pass {
 public:
  Pass(const Problem& problem, const Inputs& inputs, const BlockSchedule& schedule,
       const PassEnds& ends, Context& context)
      : p_(problem),
        inputs_(inputs),
        schedule_(schedule),
        ends_(ends),
        context_(context),
        layout_(problem, schedule) {}

  void run() {
    if (layout_.blocks == 0) return;
    Workspace& workspace = context_.workspace();
    const Workspace::Scope scope(workspace);
    tasks_ = workspace.take<BlockedTask>(layout_.tasks());
    packed_ = workspace.take<float>(layout_.copies() * layout_.packed_words());
    odd_values_ = workspace.take<std::uint8_t>(layout_.kv_heads() * layout_.panels);
    to_pack_ = workspace.take<std::atomic<Index>>(layout_.kv_heads() * layout_.chunks());
    to_attend_ = workspace.take<std::atomic<Index>>(layout_.kv_heads());
    for (std::atomic<Index>& chunk : to_pack_) std::construct_at(&chunk, 1);
    for (std::atomic<Index>& parts : to_attend_) std::construct_at(&parts, 0);
    if (layout_.parts > 1) {
      const Index count = layout_.blocks * layout_.parts * layout_.rows;
      part_accumulators_ = workspace.take<float>(count * layout_.value_columns);
      part_maxima_ = workspace.take<float>(count);
      part_sums_ = workspace.take<float>(count);
    }
    const std::span<BlockedScratch> scratch = workspace.take<BlockedScratch>(context_.threads());
    for (BlockedScratch& worker : scratch) std::construct_at(&worker, layout_, workspace);

    list_tasks(layout_, scratch[0].sources, tasks_);
    for (const BlockedTask& task : tasks_) {
      if (task.part != BlockedTask::kPacking) ++to_attend_[kv_index(task)];
    }
    context_.arena().for_each(layout_.tasks(), [&](Index n, int worker) {
      const BlockedTask& task = tasks_[static_cast<size_t>(n)];
      if (task.part == BlockedTask::kPacking) {
        pack_keys(task, scratch[static_cast<size_t>(worker)]);
      } else {
        attend(n, scratch[static_cast<size_t>(worker)]);
      }
    });
    if (layout_.parts == 1) return;
    context_.arena().for_each(layout_.tasks(), [&](Index n, int worker) {
      const BlockedTask& task = tasks_[static_cast<size_t>(n)];
      if (task.part == 0) merge(task, scratch[static_cast<size_t>(worker)]);
    });
  }

 private:
  size_t kv_index(Index batch_entry, Index kv_head) const {
    return static_cast<size_t>(batch_entry * p_.num_kv_heads + kv_head);
  }
  size_t kv_index(const BlockedTask& attending) const {
    return kv_index(attending.batch_entry, p_.kv_head(attending.head));
  }
  std::atomic<Index>& to_pack(size_t kv, Index chunk) {
    return to_pack_[kv * static_cast<size_t>(layout_.chunks()) + static_cast<size_t>(chunk)];
  }
  float* packed_keys(Index batch_entry, Index kv_head) {
    const auto copy = static_cast<Index>(kv_index(batch_entry, kv_head)) % layout_.copies();
    return packed_.data() + copy * layout_.packed_words();
  }
  std::uint8_t* odd_values(Index batch_entry, Index kv_head) {
    return odd_values_.data() + static_cast<Index>(kv_index(batch_entry, kv_head)) * layout_.panels;
  }

  TokenSet keys_of_chunk(const BlockedTask& task) const {
    const Index first = task.block * BlockedLayout::kChunk * kPanel;
    const Index end = p_.visible_key_len(task.batch_entry);  // padding is never read
    return {first, std::clamp(end - first, Index{0}, BlockedLayout::kChunk * kPanel)};
  }

  void pack_keys(const BlockedTask& task, BlockedScratch& scratch) {
    // Not only idle work: nobody waits for it, so that it could reach into the copy's next user.
    if (task.order == BlockedTask::kNever) return;
    const size_t kv = kv_index(task.batch_entry, task.head);
    const Done done{to_pack(kv, task.block)};
    const auto copies = static_cast<size_t>(layout_.copies());
    if (kv >= copies) wait_for(to_attend_[kv - copies]);  // who used this copy before
    BlockedTile tile(layout_, inputs_, scratch);
    const TokenSet keys = keys_of_chunk(task);
    const Index first = task.block * BlockedLayout::kChunk;
    for (Index panel = first; panel < std::min(first + BlockedLayout::kChunk, layout_.panels);
         ++panel) {
      const Index begin = std::min((panel - first) * kPanel, keys.count);
      const TokenSet here = keys.slice(begin, std::min(kPanel, keys.count - begin));
      tile.pack_keys(task.batch_entry, task.head, here,
                     packed_keys(task.batch_entry, task.head) + panel * kPanel * layout_.depth);
      odd_values(task.batch_entry, task.head)[panel] =
          tile.has_odd_values(task.batch_entry, task.head, here);
    }
  }

  // Counts a task as done, also if it throws: nobody may wait for it forever.
  struct Done {
    std::atomic<Index>& left;
    ~Done() { left.fetch_sub(1, std::memory_order_release); }
  };

  // Tasks are handed out in order, so whatever is waited for is in the hands of running workers.
  static void wait_for(const std::atomic<Index>& left) {
    while (left.load(std::memory_order_acquire) > 0) std::this_thread::yield();
  }

  std::span<const KeySource> sources_of(const BlockedTask& task, BlockedScratch& scratch) const {
    const Index count = schedule_.sources(task.batch_entry, task.head, task.block, scratch.sources);
    return scratch.sources.first(static_cast<size_t>(count));
  }

  // Tall strips where the masks' edges are much of what a block reads.
  Index strip_for(std::span<const KeySource> sources) const {
    if (layout_.tiles.pair != 1 || layout_.score_stride != kernels::kScoreStride) return kStrip;
    Index keys = 0;
    for (const KeySource& source : sources) keys += source.keys.count;
    return keys <= kNarrow ? kTallStrip : kStrip;
  }

  // Has the tiles of task n fetch what this worker is likely to need next: queries and outputs of
  // the query block after those of the other workers, and the keys and values to pack before it.
  void look_ahead(Index n, BlockedScratch& scratch, BlockedTile& worker) {
    const BlockedTask* first_chunk = nullptr;
    TokenSet keys{};
    Index blocks = 0;
    for (size_t t = static_cast<size_t>(n) + 1; t < tasks_.size(); ++t) {
      const BlockedTask& next = tasks_[t];
      if (next.part == BlockedTask::kPacking) {
        const TokenSet here = keys_of_chunk(next);
        if (first_chunk == nullptr) {
          first_chunk = &next;
          keys = here;
        } else if (here.begin == keys.begin + keys.count && next.head == first_chunk->head) {
          keys.count += here.count;
        }
        continue;
      }
      if (++blocks < context_.threads()) {
        first_chunk = nullptr;
        continue;
      }
      if (first_chunk != nullptr) {
        worker.fetch_later(inputs_.keys, next.batch_entry, first_chunk->head, keys);
        worker.fetch_later(inputs_.values, next.batch_entry, first_chunk->head, keys);
      }
      const TokenSet rows = schedule_.queries(next.batch_entry, next.head, next.block);
      worker.fetch_later(inputs_.queries, next.batch_entry, next.head, rows);
      const TensorView& output =
          ends_.to != nullptr ? ends_.to->accumulator : ends_.outputs->output;
      worker.fetch_later(output, next.batch_entry, next.head, rows);
      if (layout_.panels > 0) return;
      for (const KeySource& source : sources_of(next, scratch)) {
        worker.fetch_later(inputs_.keys, next.batch_entry, p_.kv_head(next.head), source.keys);
        worker.fetch_later(inputs_.values, next.batch_entry, p_.kv_head(next.head), source.keys);
      }
      return;
    }
  }

  PartState part_state(Index slot, Index part) {
    const Index row = (slot * layout_.parts + part) * layout_.rows;
    return {part_accumulators_.data() + row * layout_.value_columns, part_maxima_.data() + row,
            part_sums_.data() + row};
  }

  void attend(Index number, BlockedScratch& scratch) {
    const BlockedTask& task = tasks_[static_cast<size_t>(number)];
    const Index part = task.part;
    const size_t kv = kv_index(task);
    const Done done{to_attend_[kv]};
    const TokenSet queries = schedule_.queries(task.batch_entry, task.head, task.block);
    assert(queries.count <= layout_.rows);
    BlockedTile worker(layout_, inputs_, scratch);
    if (layout_.panels > 0) {
      worker.knows_odd_values(odd_values(task.batch_entry, p_.kv_head(task.head)));
    }
    look_ahead(number, scratch, worker);
    const std::span<const KeySource> sources = sources_of(task, scratch);
    worker.pack_queries(task.batch_entry, task.head, queries, strip_for(sources));
    start(task, queries, part, scratch);
    if (layout_.panels > 0) {
      for (const KeySource& source : sources) {
        for_chunks(source.keys, [&](Index chunk) { wait_for(to_pack(kv, chunk)); });
      }
    }

    const Index tiles =
        std::accumulate(sources.begin(), sources.end(), Index{0},
                        [&](Index n, const KeySource& s) { return n + tiles_of(s); });
    const Index first = part * tiles / layout_.parts, last = (part + 1) * tiles / layout_.parts;
    Index passed = 0;
    for (size_t s = 0; s < sources.size(); ++s) {
      const KeySource& source = sources[s];
      const Index here = tiles_of(source);
      for (Index t = std::max(first - passed, Index{0}); t < std::min(here, last - passed); ++t) {
        Tile tile{task.batch_entry, task.head, queries, {}, static_cast<Index>(s)};
        attend_tile(tile, source, t, worker);
      }
      passed += here;
    }
    worker.finish();
    if (layout_.parts == 1) {
      write(task, queries, scratch);
    } else {
      const PartState to = part_state(task.slot, part);
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
    if (ends_.from == nullptr || part > 0) return;
    for (Index r = 0; r < queries.count; ++r) {
      const Index query = queries[r];
      std::copy_n(ends_.from->accumulator.row(task.batch_entry, task.head, query), p_.value_dim,
                  scratch.accumulator.data() + r * layout_.value_columns);
      scratch.maximum[r] = *ends_.from->maximum.row(task.batch_entry, task.head, query);
      scratch.sum[r] = *ends_.from->sum.row(task.batch_entry, task.head, query);
    }
  }

  void attend_tile(Tile& tile, const KeySource& source, Index n, BlockedTile& worker) {
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
    const Index kv_head = p_.kv_head(tile.head);
    if (layout_.panels > 0) {
      panels = packed_keys(tile.batch_entry, kv_head) + begin * layout_.depth;
    }
    worker.attend(tile, {std::max(source.keys.begin - begin, Index{0}), end - begin},
                  source.partial, panels);
  }

  // Merges the parts of one block in order, into the state of the first.
  void merge(const BlockedTask& task, BlockedScratch& scratch) {
    const TokenSet queries = schedule_.queries(task.batch_entry, task.head, task.block);
    const Index width = layout_.value_columns;
    for (Index r = 0; r < queries.count; ++r) {
      float* accumulator = scratch.accumulator.data() + r * width;
      float maximum = kNothing;
      for (Index part = 0; part < layout_.parts; ++part) {
        maximum = std::max(maximum, part_state(task.slot, part).maximum[r]);
      }
      std::fill_n(accumulator, width, 0.0f);
      float sum = 0;
      for (Index part = 0; part < layout_.parts; ++part) {
        const PartState from = part_state(task.slot, part);
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
      if (ends_.to != nullptr) {
        std::copy_n(accumulator, p_.value_dim,
                    ends_.to->accumulator.row(task.batch_entry, task.head, query));
        *ends_.to->maximum.row(task.batch_entry, task.head, query) = scratch.maximum[r];
        *ends_.to->sum.row(task.batch_entry, task.head, query) = sum;
        continue;
      }
      // sum is 0 only where nothing was visible: the largest visible score adds 1.
      const float inverse = sum == 0 ? 0.0f : 1.0f / sum;
      float* output = ends_.outputs->output.row(task.batch_entry, task.head, query);
      kernels_.scale(accumulator, p_.value_dim, inverse, output);
      if (!ends_.outputs->logsumexp.empty()) {
        *ends_.outputs->logsumexp.row(task.batch_entry, task.head, query) =
            logsumexp_from(scratch.maximum[r], sum);
      }
    }
  }

  const Problem& p_;
  const Inputs& inputs_;
  const BlockSchedule& schedule_;
  const PassEnds ends_;
  Context& context_;
  const BlockedLayout layout_;
  const kernels::Kernels& kernels_ = kernels::best();
  std::span<BlockedTask> tasks_;
  std::span<std::uint8_t> odd_values_;       // per panel of each kv head: whether to look closer
  std::span<std::atomic<Index>> to_pack_;    // of each chunk of each kv head: 1 until it is packed
  std::span<std::atomic<Index>> to_attend_;  // parts of query blocks left of each kv head
  std::span<float> packed_, part_accumulators_, part_maxima_, part_sums_;
};

}  // namespace

void blocked_attention(const Problem& problem, const Inputs& inputs, const BlockSchedule& schedule,
                       const Outputs& outputs, Context& context) {
  Pass(problem, inputs, schedule, {.outputs = &outputs}, context).run();
}

void accumulate_attention(const Problem& problem, const Inputs& inputs,
                          const BlockSchedule& schedule, const SoftmaxState& state,
                          Context& context) {
  Pass(problem, inputs, schedule, {.from = &state, .to = &state}, context).run();
}

void blocked_attention(const Problem& problem, const Inputs& inputs,
                       std::span<const BlockSchedule* const> passes, const Outputs& outputs,
                       Context& context) {
  const Workspace::Scope scope(context.workspace());
  const std::array<Index, 4> shape{problem.batch, problem.num_heads, problem.query_len, 1};
  const Index rows = passes.size() > 1 ? shape[0] * shape[1] * shape[2] : 0;
  const std::span<float> maximum = context.workspace().take<float>(rows);
  const std::span<float> sum = context.workspace().take<float>(rows);
  // Until the last pass the output's own rows hold the accumulators.
  const SoftmaxState state{outputs.output,
                           {maximum.data(), shape, dense_strides(shape)},
                           {sum.data(), shape, dense_strides(shape)}};
  for (const BlockSchedule* schedule : passes) {
    PassEnds ends;
    if (schedule != passes.front()) ends.from = &state;
    if (schedule != passes.back()) ends.to = &state;
    if (schedule == passes.back()) ends.outputs = &outputs;
    Pass(problem, inputs, *schedule, ends, context).run();
  }
}

}  // namespace longattn

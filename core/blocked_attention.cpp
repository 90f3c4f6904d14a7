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
#include "core/kernels.h"

namespace longattn {
namespace {

using kernels::ColumnRange;
using kernels::kPanel;
using kernels::kRowPad;
using kernels::kStrip;
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
        layout_(problem, schedule),
        kernels_(kernels::best()) {}

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
  // All query blocks, those with most keys first, so that no thread is left with a long one alone.
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
      if (x.cost != y.cost) return x.cost > y.cost;
      return std::tie(x.batch_entry, x.head, x.block) < std::tie(y.batch_entry, y.head, y.block);
    });
  }

  float* packed_keys(Index batch_entry, Index kv_head) {
    return packed_.data() +
           (batch_entry * p_.num_kv_heads + kv_head) * layout_.panels * kPanel * p_.head_dim;
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
      for (Index panel = first; panel < last; ++panel) {
        const Index key = panel * kPanel;
        pack_panel(b, h, {key, std::clamp(end - key, Index{0}, kPanel)},
                   packed_keys(b, h) + key * p_.head_dim, scratch[static_cast<size_t>(worker)]);
      }
    });
  }

  // Packs up to kPanel keys, converting their storage.
  void pack_panel(Index b, Index kv_head, const TokenSet& keys, float* panel,
                  BlockedScratch& scratch) {
    const float* rows[kPanel];
    for (Index c = 0; c < keys.count; ++c) {
      const void* row = inputs_.keys.row(b, kv_head, keys[c]);
      if (inputs_.keys.dtype == DType::float32) {
        rows[c] = static_cast<const float*>(row);
      } else {
        float* converted = scratch.convert.data() + c * p_.head_dim;
        kernels_.to_float(inputs_.keys.dtype, row, p_.head_dim, converted);
        rows[c] = converted;
      }
    }
    kernels_.pack_panel(rows, keys.count, p_.head_dim, panel);
  }

  void pack_queries(const BlockedTask& task, const TokenSet& queries, BlockedScratch& scratch) {
    const auto factor = static_cast<float>(p_.effective_scale() * std::numbers::log2e);
    for (Index first = 0; first < queries.count; first += kStrip) {
      const Index rows = std::min(kStrip, queries.count - first);
      float* strip = scratch.queries.data() + first * p_.head_dim;
      for (Index r = 0; r < rows; ++r) {
        const void* row = inputs_.queries.row(task.batch_entry, task.head, queries[first + r]);
        const float* floats = static_cast<const float*>(row);
        if (inputs_.queries.dtype != DType::float32) {
          kernels_.to_float(inputs_.queries.dtype, row, p_.head_dim, scratch.convert.data());
          floats = scratch.convert.data();
        }
        for (Index k = 0; k < p_.head_dim; ++k) strip[k * rows + r] = floats[k] * factor;
      }
    }
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
    pack_queries(task, queries, scratch);
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
        attend_tile(task, queries, source, n, scratch);
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
                   Index n, BlockedScratch& scratch) {
    Tile tile{task.batch_entry, task.head, queries, {}};
    Index first = 0, last = 0;  // columns of the tile that belong to the source
    const float* panels = scratch.keys.data();
    const Index kv_head = p_.kv_head(task.head);
    if (source.keys.contiguous()) {
      const Index begin = tile_origin(source) + n * key_step();
      const Index end = std::min(begin + key_step(), source.keys.begin + source.keys.count);
      tile.keys = {begin, end - begin};
      first = std::max(source.keys.begin - begin, Index{0});
      last = end - begin;
      panels = packed_keys(task.batch_entry, kv_head) + begin * p_.head_dim;
    } else {
      const Index begin = n * schedule_.key_block();
      tile.keys =
          source.keys.slice(begin, std::min(schedule_.key_block(), source.keys.count - begin));
      last = tile.keys.count;
    }
    TileMask& mask = scratch.mask;
    mask.reset(queries.count, tile.keys.count);
    if (source.partial) schedule_.mask(tile, mask);
    for (Index r = 0; r < queries.count; ++r) mask.clip(r, first, last);
    const ColumnRange used = used_columns(mask, 0, queries.count);
    if (used.begin >= used.end) return;
    if (!source.keys.contiguous()) {
      for (Index c = 0; c < tile.keys.count; c += kPanel) {
        pack_panel(task.batch_entry, kv_head,
                   tile.keys.slice(c, std::min(kPanel, tile.keys.count - c)),
                   scratch.keys.data() + c * p_.head_dim, scratch);
      }
    }
    score_and_exponentiate(queries.count, panels, scratch);
    add_values(tile, kv_head, used, scratch);
  }

  // Union of the columns that rows [first, last) see.
  static ColumnRange used_columns(const TileMask& mask, Index first, Index last) {
    ColumnRange range{mask.columns, 0};
    for (Index r = first; r < last; ++r) {
      if (mask.begin[r] >= mask.end[r]) continue;
      range.begin = std::min(range.begin, mask.begin[r]);
      range.end = std::max(range.end, mask.end[r]);
    }
    return range;
  }

  static ColumnRange whole_panels(ColumnRange range) {
    return {range.begin / kPanel * kPanel, round_up(range.end, kPanel)};
  }

  void score_and_exponentiate(Index rows, const float* panels, BlockedScratch& scratch) {
    const Index stride = layout_.columns;
    const TileMask& mask = scratch.mask;
    const Index strips = kernels::strips(rows);
    for (Index s = 0; s < strips; ++s) {
      const Index first = s * kStrip, count = std::min(kStrip, rows - first);
      const ColumnRange range = whole_panels(used_columns(mask, first, first + count));
      if (range.begin >= range.end) continue;
      kernels_.scores(count, p_.head_dim, scratch.queries.data() + first * p_.head_dim, panels,
                      range, scratch.scores.data() + first * stride, stride, false);
      for (Index r = first; r < first + count; ++r) {
        float* row = scratch.scores.data() + r * stride;
        hide(mask, r, range, row);
        const float factor = kernels_.softmax_row(row + range.begin, range.end - range.begin,
                                                  &scratch.maximum[r], &scratch.sum[r]);
        if (factor != 1.0f) {
          kernels_.rescale(scratch.accumulator.data() + r * layout_.value_columns,
                           layout_.value_columns, factor);
        }
      }
    }
  }

  // Adds the bias and sets what row r may not see to -inf, within the columns computed.
  static void hide(const TileMask& mask, Index r, ColumnRange range, float* row) {
    const Index begin = std::min(mask.begin[r], range.end);
    const Index end = std::max(std::min(mask.end[r], range.end), begin);
    if (mask.uses_bias) {
      const float* bias = mask.bias.data() + r * mask.columns;
      for (Index c = begin; c < end; ++c) row[c] += bias[c] * std::numbers::log2e_v<float>;
    }
    if (mask.uses_bits) {
      for (Index c = begin; c < end; ++c) {
        if (!mask.sees(r, c)) row[c] = kNothing;
      }
    }
    std::fill(row + range.begin, row + begin, kNothing);
    std::fill(row + end, row + range.end, kNothing);
  }

  void add_values(const Tile& tile, Index kv_head, ColumnRange used, BlockedScratch& scratch) {
    const TileMask& mask = scratch.mask;
    const float* values = scratch.values.data();  // row c is the value of column c
    Index stride = layout_.value_columns;
    const bool in_place = tile.keys.contiguous() && !layout_.copies_values(inputs_.values);
    if (in_place) {
      values = inputs_.values.float_row(tile.batch_entry, kv_head, tile.keys.begin);
      stride = inputs_.values.strides[2];
    } else {
      load_values(tile, kv_head, used, scratch);
    }
    if (hides_something(mask, used) && !finite(values, stride, used)) {
      if (in_place) load_values(tile, kv_head, used, scratch);
      set_apart_odd_values(used, scratch);
      values = scratch.values.data();
      stride = layout_.value_columns;
    }
    for (Index first = 0; first < mask.rows; first += kStrip) {
      const Index count = std::min(kStrip, mask.rows - first);
      const ColumnRange range = used_columns(mask, first, first + count);
      if (range.begin >= range.end) continue;
      kernels_.accumulate(count, range, scratch.scores.data() + first * layout_.columns,
                          layout_.columns, values, stride, layout_.value_columns,
                          scratch.accumulator.data() + first * layout_.value_columns,
                          layout_.value_columns);
    }
  }

  void load_values(const Tile& tile, Index kv_head, ColumnRange used, BlockedScratch& scratch) {
    for (Index c = used.begin; c < used.end; ++c) {
      float* row = scratch.values.data() + c * layout_.value_columns;
      kernels_.to_float(inputs_.values.dtype,
                        inputs_.values.row(tile.batch_entry, kv_head, tile.keys[c]), p_.value_dim,
                        row);
      std::fill(row + p_.value_dim, row + layout_.value_columns, 0.0f);
    }
  }

  static bool hides_something(const TileMask& mask, ColumnRange used) {
    if (mask.uses_bits) return true;
    for (Index r = 0; r < mask.rows; ++r) {
      if (mask.begin[r] > used.begin || mask.end[r] < used.end) return true;
    }
    return false;
  }

  bool finite(const float* values, Index stride, ColumnRange used) const {
    for (Index c = used.begin; c < used.end; ++c) {
      if (!kernels_.all_finite(values + c * stride, p_.value_dim)) return false;
    }
    return true;
  }

  // The rare tile with an infinite or NaN value that some query must not see. Hidden, it would
  // reach the output as 0 * NaN; so it is added here to the rows that see it, and the product gets
  // zero in its place. For all other rows the product is the same to the bit as if the value were
  // finite.
  void set_apart_odd_values(ColumnRange used, BlockedScratch& scratch) {
    const TileMask& mask = scratch.mask;
    for (Index c = used.begin; c < used.end; ++c) {
      float* value = scratch.values.data() + c * layout_.value_columns;
      for (Index k = 0; k < p_.value_dim; ++k) {
        if (std::isfinite(value[k])) continue;
        for (Index r = 0; r < mask.rows; ++r) {
          if (!mask.sees(r, c)) continue;
          scratch.accumulator[static_cast<size_t>(r * layout_.value_columns + k)] +=
              scratch.scores[static_cast<size_t>(r * layout_.columns + c)] * value[k];
        }
        value[k] = 0;
      }
    }
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
  const kernels::Kernels& kernels_;
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

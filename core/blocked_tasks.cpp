#include "core/blocked_tasks.h"

#include <algorithm>
#include <tuple>

namespace longattn {
namespace {

class TaskList {
 public:
  TaskList(const BlockedLayout& layout, std::span<KeySource> sources, std::span<BlockedTask> tasks)
      : l_(layout), sources_(sources), tasks_(tasks) {}

  void fill() {
    for (Index b = 0; b < l_.p.batch; ++b) {
      for (Index kv_head = 0; kv_head < l_.p.num_kv_heads; ++kv_head) add_kv_head(b, kv_head);
    }
    std::ranges::sort(tasks_, {}, [](const BlockedTask& task) {
      return std::tuple(task.order, task.part, task.block);
    });
  }

 private:
  void add_kv_head(Index b, Index kv_head) {
    const auto turn = static_cast<double>(b * l_.p.num_kv_heads + kv_head);
    const size_t first_chunk = n_;
    for (Index chunk = 0; chunk < l_.chunks(); ++chunk) {
      tasks_[n_++] = {b, kv_head, chunk, BlockedTask::kPacking, 0, BlockedTask::kNever};
    }
    const size_t first = n_;
    const Index group = l_.p.num_heads / l_.p.num_kv_heads;
    for (Index h = kv_head * group; h < (kv_head + 1) * group; ++h) add_blocks(b, h);
    for (size_t t = first; t < n_; ++t) {
      tasks_[t].order = turn + static_cast<double>(t - first) / static_cast<double>(n_ - first);
    }
    pack_in_time(tasks_.subspan(first_chunk, first - first_chunk),
                 tasks_.subspan(first, n_ - first));
  }

  // The query blocks of one head, those with most keys first.
  void add_blocks(Index b, Index h) {
    const size_t first = n_;
    for (Index block = 0; block < l_.schedule.num_blocks(b, h); ++block, ++slot_) {
      double keys = 0;
      for (const KeySource& source : sources_of(b, h, block)) {
        keys += static_cast<double>(source.keys.count);
      }
      const auto rows = static_cast<double>(l_.schedule.queries(b, h, block).count);
      for (Index part = 0; part < l_.parts; ++part) {
        tasks_[n_++] = {b, h, block, part, slot_, -keys * rows};
      }
    }
    std::ranges::sort(tasks_.subspan(first, n_ - first), {}, [](const BlockedTask& task) {
      return std::tuple(task.order, task.block, task.part);
    });
  }

  // Chunks that no block reads stay as they are.
  void pack_in_time(std::span<BlockedTask> chunks, std::span<const BlockedTask> blocks) {
    size_t left = chunks.size();
    for (const BlockedTask& block : blocks) {
      if (left == 0) return;
      for (const KeySource& source : sources_of(block.batch_entry, block.head, block.block)) {
        for_chunks(source.keys, [&](Index n) {
          BlockedTask& chunk = chunks[static_cast<size_t>(n)];
          if (chunk.order <= block.order) return;
          chunk.order = block.order;
          --left;
        });
      }
    }
  }

  std::span<const KeySource> sources_of(Index b, Index h, Index block) {
    const Index count = l_.schedule.sources(b, h, block, sources_);
    return sources_.first(static_cast<size_t>(count));
  }

  const BlockedLayout& l_;
  const std::span<KeySource> sources_;
  const std::span<BlockedTask> tasks_;
  size_t n_ = 0;
  Index slot_ = 0;
};

}  // namespace

void list_tasks(const BlockedLayout& layout, std::span<KeySource> sources,
                std::span<BlockedTask> tasks) {
  TaskList(layout, sources, tasks).fill();
}

}  // namespace longattn

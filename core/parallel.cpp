#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#ifndef LONGATTN_STD_THREAD
#include <tbb/global_control.h>
#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>
#endif

namespace longattn {
namespace {

// Runs tasks from a shared counter until none is left or another worker has failed.
class TaskQueue {
 public:
  TaskQueue(Index count, const std::function<void(Index, int)>& body)
      : count_(count), body_(body) {}

  void work(int worker) {
    try {
      for (Index task = next_++; task < count_; task = next_++) body_(task, worker);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      next_ = count_;
    }
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  const Index count_;
  const std::function<void(Index, int)>& body_;
  std::atomic<Index> next_{0};
  std::mutex mutex_;
  std::exception_ptr error_;
};

}  // namespace

#ifdef LONGATTN_STD_THREAD

struct ThreadArena::Impl {};

ThreadArena::ThreadArena(int threads) : threads_(std::max(threads, 1)) {}

void ThreadArena::for_each(Index count, const std::function<void(Index, int)>& body) {
  TaskQueue queue(count, body);
  std::vector<std::thread> pool;
  for (int worker = 1; worker < std::min<Index>(threads_, count); ++worker) {
    pool.emplace_back([&queue, worker] { queue.work(worker); });
  }
  queue.work(0);
  for (std::thread& thread : pool) thread.join();
  queue.rethrow();
}

#else

struct ThreadArena::Impl {
  explicit Impl(int threads) : arena(threads) {
    // oneTBB makes as many workers as this process has cores, and warns when asked for more.
    if (threads > tbb::info::default_concurrency()) {
      control.emplace(tbb::global_control::max_allowed_parallelism, static_cast<size_t>(threads));
    }
  }
  std::optional<tbb::global_control> control;
  tbb::task_arena arena;
};

ThreadArena::ThreadArena(int threads)
    : threads_(std::max(threads, 1)), impl_(std::make_unique<Impl>(threads_)) {}

void ThreadArena::for_each(Index count, const std::function<void(Index, int)>& body) {
  TaskQueue queue(count, body);
  const int workers = static_cast<int>(std::min<Index>(threads_, count));
  if (workers <= 1) {
    queue.work(0);
  } else {
    impl_->arena.execute([&] {
      tbb::parallel_for(
          tbb::blocked_range<int>(0, workers, 1),
          [&](const tbb::blocked_range<int>& range) {
            for (int worker = range.begin(); worker < range.end(); ++worker) queue.work(worker);
          },
          tbb::simple_partitioner());
    });
  }
  queue.rethrow();
}

#endif

ThreadArena::~ThreadArena() = default;

}  // namespace longattn

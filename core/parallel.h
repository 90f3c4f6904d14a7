#pragma once

#include <functional>
#include <memory>

#include "core/types.h"
#include "core/workspace.h"

namespace longattn {

/// A pool of a fixed number of threads. The only seam to oneTBB (std::thread in the tsan build,
/// because the packaged oneTBB is not instrumented).
class ThreadArena {
 public:
  explicit ThreadArena(int threads);
  ~ThreadArena();
  ThreadArena(const ThreadArena&) = delete;
  ThreadArena& operator=(const ThreadArena&) = delete;

  int threads() const { return threads_; }

  /// Calls body(task, worker) once for every task in [0, count); worker is in [0, threads()) and no
  /// two calls with the same worker run at once, so per-worker scratch needs no lock. Tasks are
  /// handed out in order, each to the next free worker: put the long ones first. The first
  /// exception is rethrown after all workers have stopped.
  ///
  ///   before:  for (Index t = 0; t < count; ++t) body(t, 0);
  ///   after:   arena.for_each(count, [&](Index t, int worker) { ... });
  ///
  /// Which worker runs a task is up to chance: results must not depend on it.
  void for_each(Index count, const std::function<void(Index task, int worker)>& body);

 private:
  struct Impl;
  int threads_;
  std::unique_ptr<Impl> impl_;
};

/// What a forward pass runs on: scratch memory and threads, nothing else.
class Context {
 public:
  explicit Context(int threads = 1) : arena_(threads) {}
  Workspace& workspace() { return workspace_; }
  ThreadArena& arena() { return arena_; }
  int threads() const { return arena_.threads(); }

 private:
  Workspace workspace_;
  ThreadArena arena_;
};

}  // namespace longattn

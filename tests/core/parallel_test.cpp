#include "core/parallel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

namespace longattn {
namespace {

TEST(ThreadArena, EachTaskRunsOnce) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadArena arena(threads);
    EXPECT_EQ(arena.threads(), threads);
    for (Index count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> calls(static_cast<size_t>(count));
      arena.for_each(count, [&](Index task, int) { ++calls[static_cast<size_t>(task)]; });
      for (const auto& n : calls) ASSERT_EQ(n, 1) << threads << " threads, " << count << " tasks";
    }
  }
}

TEST(ThreadArena, NoTwoCallsShareAWorkerAtOnce) {
  ThreadArena arena(4);
  std::vector<std::atomic<int>> busy(4);
  std::atomic<int> clashes{0};
  arena.for_each(2000, [&](Index, int worker) {
    ASSERT_TRUE(0 <= worker && worker < 4);
    if (busy[static_cast<size_t>(worker)]++ != 0) ++clashes;
    std::this_thread::yield();
    --busy[static_cast<size_t>(worker)];
  });
  EXPECT_EQ(clashes, 0);
}

TEST(ThreadArena, RethrowsTheErrorAndCanBeUsedAgain) {
  for (int threads : {1, 2, 4}) {
    ThreadArena arena(threads);
    std::atomic<int> after{0};
    const auto failing = [&](Index task, int) {
      if (task == 3) throw std::runtime_error("task 3");
      if (task > 3) ++after;
    };
    EXPECT_THAT([&] { arena.for_each(100'000, failing); },
                ::testing::ThrowsMessage<std::runtime_error>("task 3"));
    if (threads == 1) EXPECT_EQ(after, 0) << "the rest was not given up";
    std::atomic<int> calls{0};
    arena.for_each(10, [&](Index, int) { ++calls; });
    EXPECT_EQ(calls, 10);
  }
}

TEST(ThreadArena, OneThreadRunsTasksInOrder) {
  ThreadArena arena(1);
  std::vector<Index> order;
  arena.for_each(5, [&](Index task, int worker) {
    EXPECT_EQ(worker, 0);
    order.push_back(task);
  });
  EXPECT_THAT(order, ::testing::ElementsAre(0, 1, 2, 3, 4));
}

TEST(ThreadArena, FewerThanOneThreadMeansOne) {
  ThreadArena arena(0);
  EXPECT_EQ(arena.threads(), 1);
  int calls = 0;
  arena.for_each(3, [&](Index, int) { ++calls; });
  EXPECT_EQ(calls, 3);
}

TEST(ThreadArena, CallsMayNest) {
  ThreadArena outer(2), inner(2);
  std::atomic<int> calls{0};
  outer.for_each(4, [&](Index, int) {
    ThreadArena own(2);
    own.for_each(8, [&](Index, int) { ++calls; });
  });
  inner.for_each(1, [&](Index, int) { ++calls; });
  EXPECT_EQ(calls, 33);
}

}  // namespace
}  // namespace longattn

#include "experiments/measure/memory.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "experiments/measure/heap_counter.h"

namespace longattn {
namespace {

constexpr size_t kMebibyte = size_t{1} << 20;
// Per block: rounding to a page where the block is mapped by itself.
constexpr double kPerBlock = 4096 + 16;

class HeapCount : public testing::Test {
 protected:
  void SetUp() override {
    // Sanitizers bring their own malloc; there is then nothing to count and nothing is claimed.
    if (!heap_counting_available()) {
      EXPECT_FALSE(measure_memory_of([] {}).heap_peak_bytes);
    }
  }
  static void expect_peak(const std::function<void()>& body, double bytes, double blocks) {
    const MemoryUse use = measure_memory_of(body);
    if (!heap_counting_available()) return;
    ASSERT_TRUE(use.heap_peak_bytes);
    EXPECT_GE(*use.heap_peak_bytes, bytes);
    EXPECT_LE(*use.heap_peak_bytes, bytes + blocks * kPerBlock);
  }
};

void* volatile escape;  // keeps the compiler from leaving an allocation out

TEST_F(HeapCount, OfNothingIsZero) {
  const MemoryUse use = measure_memory_of([] {});
  if (heap_counting_available()) EXPECT_EQ(*use.heap_peak_bytes, 0);
}

TEST_F(HeapCount, SeesEveryWayToAllocate) {
  const auto hold = [](void* block) {
    escape = block;
    std::free(block);
  };
  expect_peak([&] { hold(std::malloc(kMebibyte)); }, kMebibyte, 1);
  expect_peak([&] { hold(std::calloc(4, kMebibyte)); }, 4 * kMebibyte, 1);
  expect_peak([&] { hold(std::aligned_alloc(64, 2 * kMebibyte)); }, 2 * kMebibyte, 1);
  expect_peak([&] { escape = std::make_unique<char[]>(3 * kMebibyte).get(); }, 3 * kMebibyte, 1);
  expect_peak(
      [&] {
        void* block = nullptr;
        ASSERT_EQ(posix_memalign(&block, 4096, kMebibyte), 0);
        hold(block);
      },
      kMebibyte, 2);
  expect_peak(
      [&] {
        void* block = std::malloc(kMebibyte);
        escape = block;
        hold(std::realloc(block, 5 * kMebibyte));
      },
      5 * kMebibyte, 1);
}

TEST_F(HeapCount, IsThePeakAndNotTheSum) {
  expect_peak(
      [] {
        for (int n = 0; n < 10; ++n) {
          const std::vector<char> block(kMebibyte);
          escape = const_cast<char*>(block.data());
        }
      },
      kMebibyte, 1);
}

TEST_F(HeapCount, AddsUpOverThreads) {
  std::vector<std::vector<char>> blocks(4);
  expect_peak(
      [&] {
        std::vector<std::thread> threads;
        for (auto& block : blocks) threads.emplace_back([&block] { block.resize(kMebibyte); });
        for (std::thread& thread : threads) thread.join();
      },
      4 * kMebibyte, 16);
}

TEST(ResidentMemory, GrowsByWhatIsTouched) {
  const MemoryUse use = measure_memory_of([] {
    const std::unique_ptr<char[]> block(new char[64 * kMebibyte]);
    std::memset(block.get(), 1, 64 * kMebibyte);
    escape = block.get();
  });
  if (!use.rss_peak_bytes) return;  // a kernel that does not let VmHWM be reset
  EXPECT_GE(*use.rss_peak_bytes, 60.0 * kMebibyte);
}

}  // namespace
}  // namespace longattn

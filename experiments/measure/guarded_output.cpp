#include "experiments/measure/guarded_output.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace longattn {
namespace {

constexpr std::byte kPattern{0xA5};

size_t bytes_of(const TensorView& view) {
  Index count = sizeof(float);
  for (Index extent : view.shape) count *= extent;
  return static_cast<size_t>(count);
}

}  // namespace

GuardedOutput::GuardedOutput(const Problem& p) {
  view_.shape = {p.batch, p.num_heads, p.query_len, p.value_dim};
  view_.strides = dense_strides(view_.shape);
  const size_t bytes = bytes_of(view_), page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t inside = (bytes + page - 1) / page * page;
  size_ = inside + 2 * page;
  void* pages = mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) throw std::bad_alloc();
  pages_ = static_cast<std::byte*>(pages);
  if (inside > 0 && mprotect(pages_ + page, inside, PROT_READ | PROT_WRITE) != 0) {
    munmap(pages_, size_);
    throw std::bad_alloc();
  }
  front_ = inside - bytes;
  std::memset(pages_ + page, static_cast<int>(kPattern), front_);
  view_.data = reinterpret_cast<float*>(pages_ + page + front_);
}

GuardedOutput::~GuardedOutput() { munmap(pages_, size_); }

bool GuardedOutput::is_intact() const {
  const auto* end = reinterpret_cast<const std::byte*>(view_.data);
  return std::all_of(end - front_, end, [](std::byte b) { return b == kPattern; });
}

std::string hash_of(const TensorView& output) {
  return fmt::format("{:016x}", XXH3_64bits(output.data, bytes_of(output)));
}

}  // namespace longattn

#include "experiments/measure/heap_counter.h"

#include <malloc.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>

// Sanitizers have an allocator of their own. g++ tells by macros, clang by features.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LONGATTN_SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LONGATTN_SANITIZED 1
#endif

#if defined(__GLIBC__) && !defined(LONGATTN_SANITIZED)
#define LONGATTN_COUNTS_HEAP 1
#else
#define LONGATTN_COUNTS_HEAP 0
#endif

namespace longattn {
namespace {

std::atomic<bool> counting{false};
std::atomic<Index> held{0}, peak{0};

}  // namespace

bool heap_counting_available() { return LONGATTN_COUNTS_HEAP != 0; }

void start_heap_counting() {
  held = 0;
  peak = 0;
  counting = true;
}

Index stop_heap_counting() {
  counting = false;
  return peak;
}

}  // namespace longattn

#if LONGATTN_COUNTS_HEAP

extern "C" {
void* __libc_malloc(size_t);
void __libc_free(void*);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
}

namespace {

using longattn::Index;

void* gained(void* block) {
  if (block != nullptr && longattn::counting.load(std::memory_order_relaxed)) {
    const Index now = longattn::held += static_cast<Index>(malloc_usable_size(block));
    Index highest = longattn::peak.load();
    while (now > highest && !longattn::peak.compare_exchange_weak(highest, now)) {
    }
  }
  return block;
}

void lost(void* block) {
  if (block != nullptr && longattn::counting.load(std::memory_order_relaxed)) {
    longattn::held -= static_cast<Index>(malloc_usable_size(block));
  }
}

}  // namespace

extern "C" {

void* malloc(size_t size) { return gained(__libc_malloc(size)); }
void* calloc(size_t count, size_t size) { return gained(__libc_calloc(count, size)); }
void* memalign(size_t alignment, size_t size) { return gained(__libc_memalign(alignment, size)); }
void* aligned_alloc(size_t alignment, size_t size) {
  return gained(__libc_memalign(alignment, size));
}

void* realloc(void* block, size_t size) {
  lost(block);
  void* moved = __libc_realloc(block, size);
  // A failed realloc leaves the old block alone.
  gained(moved == nullptr && size != 0 ? block : moved);
  return moved;
}

int posix_memalign(void** result, size_t alignment, size_t size) {
  if (alignment % sizeof(void*) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0) {
    return EINVAL;
  }
  void* block = gained(__libc_memalign(alignment, size));
  if (block == nullptr) return ENOMEM;
  *result = block;
  return 0;
}

void free(void* block) {
  lost(block);
  __libc_free(block);
}

}  // extern "C"

#endif

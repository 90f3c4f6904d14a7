#include "tests/core/reader_testing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <new>

#include "core/random.h"
#include "tests/temporary_folder.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LONGATTN_OWN_ALLOCATOR 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LONGATTN_OWN_ALLOCATOR 1
#endif
#endif

namespace {
thread_local bool watching = false;
thread_local size_t largest_allocation = 0;
}  // namespace

#ifndef LONGATTN_OWN_ALLOCATOR
void* operator new(size_t size) {
  if (watching) largest_allocation = std::max(largest_allocation, size);
  if (void* result = std::malloc(std::max<size_t>(size, 1))) return result;
  throw std::bad_alloc();
}
void operator delete(void* pointer) noexcept { std::free(pointer); }
void operator delete(void* pointer, size_t) noexcept { std::free(pointer); }
#endif

namespace longattn {

AllocationWatch::AllocationWatch() {
  watching = true;
  largest_allocation = 0;
}

AllocationWatch::~AllocationWatch() { watching = false; }

size_t AllocationWatch::largest() const { return largest_allocation; }

bool AllocationWatch::counting() {
#ifdef LONGATTN_OWN_ALLOCATOR
  return false;
#else
  return true;
#endif
}

namespace {

class Mutator {
 public:
  Mutator(const std::vector<std::string>& seeds, std::uint64_t stream)
      : seeds_(seeds), random_(20240229, stream) {}

  std::string next() {
    std::string bytes = seeds_[below(seeds_.size())];
    const std::uint64_t changes = 1 + below(3);
    for (std::uint64_t n = 0; n < changes; ++n) change(bytes);
    return bytes;
  }

 private:
  size_t below(size_t bound) { return random_.below(counter_++, std::max<size_t>(bound, 1)); }

  void change(std::string& bytes) {
    // Half of the changes hit the header, where the rules are.
    const size_t reach = below(2) == 0 ? bytes.size() : std::min<size_t>(bytes.size(), 200);
    const size_t at = below(reach);
    static constexpr std::string_view kTokens[] = {"0",
                                                   "1",
                                                   "9",
                                                   "-",
                                                   "4294967296",
                                                   "9223372036854775807",
                                                   "18446744073709551616",
                                                   "(",
                                                   ")",
                                                   "[",
                                                   "]",
                                                   "{",
                                                   "}",
                                                   "'",
                                                   "\"",
                                                   ",",
                                                   ":",
                                                   "True",
                                                   "null",
                                                   "1.5",
                                                   "F64",
                                                   "BF16",
                                                   "F4",
                                                   "<f8",
                                                   "|O",
                                                   ">f4",
                                                   "__metadata__",
                                                   "\\u0000",
                                                   "\xff",
                                                   "\n",
                                                   "data_offsets",
                                                   "shape"};
    switch (below(8)) {
      case 0:
        if (!bytes.empty()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      case 1:
        if (!bytes.empty()) bytes[at] = static_cast<char>(below(256));
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.erase(at, 1 + below(16));
        break;
      case 4:
        bytes.insert(at, bytes.substr(below(bytes.size()), below(64)));
        break;
      case 5: {
        const std::string_view token = kTokens[below(std::size(kTokens))];
        bytes.replace(at, below(8), token);
        break;
      }
      case 6: {
        const std::string& other = seeds_[below(seeds_.size())];
        bytes.replace(at, below(64), other.substr(below(other.size()), below(64)));
        break;
      }
      default:
        if (bytes.size() >= 10) {  // the length fields of both formats
          bytes[6 * below(2) + below(4)] = static_cast<char>(below(256));
        }
    }
  }

  const std::vector<std::string>& seeds_;
  CounterRandom random_;
  std::uint64_t counter_ = 0;
};

}  // namespace

int read_mutations(const std::vector<std::string>& seeds, int rounds,
                   const std::function<void(const std::string& path)>& read) {
  if (const char* text = std::getenv("LONGATTN_MUTATIONS")) rounds = std::atoi(text);
  const TemporaryFolder folder;
  const std::string path = folder / "mutant";
  int good = 0;
  for (int round = 0; round < rounds; ++round) {
    const std::string bytes = Mutator(seeds, static_cast<std::uint64_t>(round)).next();
    std::ofstream(path, std::ios::binary) << bytes;
    size_t largest = 0;
    try {
      const AllocationWatch watch;
      try {
        read(path);
        ++good;
      } catch (const DataError& error) {
        const std::string_view message = error.what();
        EXPECT_TRUE(message.starts_with(path + ": ")) << message;
        EXPECT_EQ(message.find('\n'), std::string_view::npos) << message;
      }
      largest = watch.largest();
    } catch (const std::exception& error) {
      ADD_FAILURE() << "mutation " << round << ": " << error.what();
    }
    // The constant is for messages and for the first growth of strings.
    EXPECT_LE(largest, 2 * bytes.size() + 1024) << "mutation " << round;
  }
  return good;
}

}  // namespace longattn

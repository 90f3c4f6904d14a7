#include "tests/core/reader_testing.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <new>

#include "core/io/text.h"
#include "core/random.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LONGATTN_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LONGATTN_SANITIZED 1
#endif
#endif

namespace {

thread_local bool watching = false;
thread_local size_t largest_allocation = 0;

void see(size_t size) {
  if (watching) largest_allocation = std::max(largest_allocation, size);
}

}  // namespace

#ifdef LONGATTN_SANITIZED
// Of the sanitizers' own allocator, which sees malloc and aligned_alloc too.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void*,
                                                                             size_t),
                                                         void (*free_hook)(const volatile void*));
namespace {
[[maybe_unused]] const int hooks = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, size_t size) { see(size); }, [](const volatile void*) {});
}  // namespace
#else
void* operator new(size_t size) {
  see(size);
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

namespace {

class Mutator {
 public:
  Mutator(const std::vector<std::string>& seeds, const std::vector<std::string_view>& tokens,
          std::uint64_t stream)
      : seeds_(seeds), tokens_(tokens), random_(20240229, stream) {}

  std::string next() {
    std::string bytes = seeds_[below(seeds_.size())];
    const std::uint64_t changes = 1 + below(3);
    for (std::uint64_t n = 0; n < changes; ++n) change(bytes);
    return bytes;
  }

 private:
  size_t below(size_t bound) { return random_.below(counter_++, std::max<size_t>(bound, 1)); }

  void change(std::string& bytes) {
    // Half of the changes hit the beginning, where the rules are.
    const size_t reach = below(2) == 0 ? bytes.size() : std::min<size_t>(bytes.size(), 200);
    const size_t at = below(reach);
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
      case 5:
        bytes.replace(at, below(8), tokens_[below(tokens_.size())]);
        break;
      case 6: {
        const std::string& other = seeds_[below(seeds_.size())];
        bytes.replace(at, below(64), other.substr(below(other.size()), below(64)));
        break;
      }
      default:
        if (bytes.size() >= 10) {  // the length fields of .npy and .safetensors
          bytes[6 * below(2) + below(4)] = static_cast<char>(below(256));
        }
    }
  }

  const std::vector<std::string>& seeds_;
  const std::vector<std::string_view>& tokens_;
  CounterRandom random_;
  std::uint64_t counter_ = 0;
};

// Whether the budget of LONGATTN_MUTATION_SECONDS, or without it of rounds, is spent.
class Budget {
 public:
  explicit Budget(int rounds) : rounds_(rounds) {
    if (const char* text = std::getenv("LONGATTN_MUTATION_SECONDS")) seconds_ = std::atof(text);
  }
  bool spent(int round) const {
    if (seconds_ == 0) return round >= rounds_;
    return std::chrono::steady_clock::now() - start_ >= std::chrono::duration<double>(seconds_);
  }

 private:
  int rounds_;
  double seconds_ = 0;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

void expect_one_line(std::string_view message, std::string_view path) {
  EXPECT_TRUE(message.starts_with(path)) << message;
  EXPECT_EQ(printable(message), message) << "a line end or a control character";
}

void write_quickly(const std::string& path, std::string_view bytes) {
  std::remove(path.c_str());
  std::ofstream(path, std::ios::binary) << bytes;
}

MutationCounts read_mutations(const Mutations& mutations,
                              const std::function<void(const std::string& path)>& read) {
  const Budget budget(mutations.rounds);
  MutationCounts counts;
  for (int round = 0; !budget.spent(round) && !::testing::Test::HasFailure(); ++round) {
    const std::string bytes =
        Mutator(mutations.seeds, mutations.tokens, static_cast<std::uint64_t>(round)).next();
    write_quickly(mutations.path, bytes);
    size_t largest = 0;
    try {
      const AllocationWatch watch;
      try {
        read(mutations.path);
        ++counts.read;
      } catch (const Error& error) {
        ++counts.refused;
        mutations.check(error);
      }
      largest = watch.largest();
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
    // The constant is for messages and for the first growth of strings.
    if (mutations.bounded) {
      EXPECT_LE(largest, 2 * bytes.size() + 1024);
    }
    EXPECT_FALSE(::testing::Test::HasFailure()) << "mutation " << round << ":\n" << bytes;
  }
  return counts;
}

}  // namespace longattn

#include "variants/random_keys.h"

#include <algorithm>
#include <bit>
#include <map>
#include <numeric>
#include <span>
#include <vector>

#include "core/blocked_attention.h"
#include "core/listed_attention.h"
#include "core/random.h"

namespace longattn {
namespace {

// The keys that a query sees, in order, without looking at any other: all up to an end, or those of
// its document.
class VisibleKeys {
 public:
  explicit VisibleKeys(const Problem& p) : p_(p), tokens_(static_cast<size_t>(p.batch)) {
    if (p.mask.document_ids.empty()) return;
    for (Index b = 0; b < p.batch; ++b) {
      for (Index j = 0; j < p.visible_key_len(b); ++j) {
        tokens_[static_cast<size_t>(b)][p.document(b, j)].push_back(j);
      }
    }
  }

  TokenSet of(Index b, Index query) const {
    const Index end = p_.visible_end(b, query);
    if (p_.mask.document_ids.empty()) return {0, end};
    const auto& documents = tokens_[static_cast<size_t>(b)];
    const auto own = documents.find(p_.document(b, p_.position(query)));
    if (own == documents.end()) return {};
    TokenSet keys{0, static_cast<Index>(own->second.size()), 1, own->second.data()};
    keys.count = keys.count_below(end);
    return keys;
  }

 private:
  const Problem& p_;
  std::vector<std::map<Index, std::vector<Index>>> tokens_;  // of each document of a batch entry
};

class RandomChoice final : public KeyChooser {
 public:
  RandomChoice(const Problem& problem, const Options& options)
      : p_(problem),
        k_(std::min(options.integer("k"), problem.key_len)),
        slots_(static_cast<Index>(std::bit_ceil(2 * static_cast<std::uint64_t>(k_)))),
        seed_(static_cast<std::uint64_t>(options.integer("seed"))),
        visible_(problem) {}

  Index max_keys() const override { return k_; }
  Index scratch_bytes() const override { return slots_ * static_cast<Index>(sizeof(Index)); }

  void choose(const Inputs&, Index b, Index head, const TokenSet& queries, std::byte* scratch,
              Index* keys, Index* counts) const override {
    for (Index n = 0; n < queries.count; ++n) {
      const TokenSet seen = visible_.of(b, queries[n]);
      const auto position = static_cast<std::uint64_t>(p_.position(queries[n]));
      const CounterRandom random(seed_, make_stream(static_cast<std::uint64_t>(head), position));
      counts[n] = std::min(k_, seen.count);
      const std::span<Index> own(keys + n * k_, static_cast<size_t>(counts[n]));
      if (counts[n] == seen.count) {
        std::iota(own.begin(), own.end(), Index{0});
      } else {
        draw(random, seen.count, reinterpret_cast<Index*>(scratch), own);
        std::ranges::sort(own);
      }
      for (Index& key : own) key = seen[key];
    }
  }

  double pairs() const {
    double pairs = 0;
    for (Index b = 0; b < p_.batch; ++b) {
      for (Index i = 0; i < p_.query_len; ++i) {
        pairs += static_cast<double>(std::min(k_, visible_.of(b, i).count));
      }
    }
    return pairs * static_cast<double>(p_.num_heads);
  }

 private:
  // The first different ones of endless draws below `size`: each one call of the generator, where
  // an element of permuted() takes 5, and up to four times that for sizes between powers of four.
  void draw(const CounterRandom& random, Index size, Index* table, std::span<Index> out) const {
    std::fill_n(table, slots_, kEmpty);
    std::uint64_t draws = 0;
    for (Index& key : out) {
      do {
        key = static_cast<Index>(random.below(draws++, static_cast<std::uint64_t>(size)));
      } while (!insert(key, table));
    }
  }

  bool insert(Index key, Index* table) const {
    Index slot = key & (slots_ - 1);  // drawn evenly, so it is its own hash
    for (; table[slot] != kEmpty; slot = (slot + 1) & (slots_ - 1)) {
      if (table[slot] == key) return false;
    }
    table[slot] = key;
    return true;
  }

  static constexpr Index kEmpty = -1;

  const Problem& p_;
  const Index k_, slots_;  // slots of a hash table that k drawn keys leave half empty
  const std::uint64_t seed_;
  const VisibleKeys visible_;
};

class RandomKeys final : public ListedAttention {
 public:
  RandomKeys(const Problem& p, const Options& options)
      : ListedAttention(p), chooser_(problem(), options) {}

  Cost cost(int threads) const override { return listed_cost(chooser_.pairs(), threads); }

 private:
  const KeyChooser& chooser() const override { return chooser_; }
  const RandomChoice chooser_;
};

}  // namespace

const Variant kRandomKeys = {
    .name = "random_keys",
    .summary = "baseline: k random visible keys of each row; what a budget buys without choosing",
    .paper = "none; cf. the random part of Zaheer et al. 2020, Big Bird, section 2",
    .options = {{.name = "k",
                 .type = OptionType::integer,
                 .default_value = Index{64},
                 .doc = "keys a row",
                 .minimum = 1,
                 .nested = true},
                {.name = "seed",
                 .type = OptionType::integer,
                 .default_value = Index{0},
                 .doc = "of the draws",
                 .minimum = 0}},
    .extra = {},
    .unsupported = [](const Problem&, const Options&) -> std::string { return ""; },
    .traits =
        [](const Problem& p, const Options& options) {
          return Traits{.exact = options.integer("k") >= p.key_len, .heads_alike = false};
        },
    .growth = [](const Options&) { return Growth{.time = 1, .memory = 1}; },
    .make = [](const Problem& problem, const Options& options) -> std::unique_ptr<const Attention> {
      return std::make_unique<RandomKeys>(problem, options);
    },
};

}  // namespace longattn

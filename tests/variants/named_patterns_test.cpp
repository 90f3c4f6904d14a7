// The variants with a named pattern against rows written out from the papers' formulas: one
// predicate for each pattern, a plain softmax in double, and many small problems. Nothing here asks
// a variant which keys it shows.
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "core/io/npy.h"
#include "tests/temporary_folder.h"
#include "tests/variants/brute_force.h"
#include "variants/bigbird.h"
#include "variants/block_permutation.h"
#include "variants/block_sparse.h"
#include "variants/longformer.h"
#include "variants/sparse_transformer.h"

namespace longattn {
namespace {

Index remainder(Index a, Index b) { return (a % b + b) % b; }

// Child et al. 2019, section 4.3, causal; and without a mask the extension that the header tells.
Pattern sparse_pattern(const std::string& pattern, const std::string& reading, Index l, Index c) {
  return [=](Index, Index t, Index j) {
    const Index distance = std::abs(t - j);
    if (pattern == "local") return reading == "paper" ? distance <= l : distance < l;
    if (pattern == "strided") return distance < l || remainder(t - j, l) == 0;
    const bool own_block = t >= 0 && j / l == t / l;
    const bool summary = j % l >= l - c || (reading != "code" && j % l == 0);
    return own_block || summary;
  };
}

PatternCase sparse_case(const Problem& p, const std::string& pattern, const std::string& reading,
                        const std::string& stride, Index c) {
  const Index l = stride == "auto"
                      ? std::max<Index>(1, std::lround(std::sqrt(static_cast<double>(p.key_len))))
                      : std::stoll(stride);
  return {&kSparseTransformer,
          p,
          {{"pattern", pattern},
           {"reading", reading},
           {"stride", stride},
           {"expressivity", text_of(c)}},
          sparse_pattern(pattern, reading, l, c)};
}

TEST(NamedPatterns, SparseTransformerInEveryReadingIsTheFormulaOfThePaper) {
  Dice dice(1);
  for (const char* pattern : {"local", "strided", "fixed"}) {
    for (const char* reading : {"code", "paper", "lra"}) {
      for (const Index len : {1, 2, 3, 5, 7, 11, 13}) {
        Problem p = square_problem(len, dice.one_in(2));
        p.query_len = dice.between(1, len + 3);
        for (Index l = 1; l <= len + 1; ++l) {
          expect_as_written_out(
              sparse_case(p, pattern, reading, text_of(l), dice.between(1, l + 1)), dice);
          if (HasFatalFailure()) return;
        }
      }
      for (int n = 0; n < 60; ++n) {
        const Problem p = drawn_problem(dice, dice.one_in(12) ? 331 : 97);
        const std::string stride = dice.one_in(6) ? "auto" : text_of(drawn_size(dice, p.key_len));
        expect_as_written_out(sparse_case(p, pattern, reading, stride, drawn_size(dice, p.key_len)),
                              dice);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Beltagy et al. 2020, section 3.1: a dilated window, and tokens that see and are seen by all.
PatternCase longformer_case(const Problem& p, Index w, Index delta,
                            const std::vector<Index>& global, bool own_projections) {
  const std::set<Index> tokens(global.begin(), global.end());
  PatternCase c = {
      &kLongformer,
      p,
      {{"window", text_of(w)}, {"dilation", text_of(delta)}, {"global_tokens", text_of(global)}},
      [=](Index, Index t, Index j) {
        if (tokens.contains(t) || tokens.contains(j)) return true;
        return std::abs(t - j) <= w * delta && (t - j) % delta == 0;
      }};
  if (own_projections) c.own_projections = tokens;
  return c;
}

TEST(NamedPatterns, LongformerIsTheFormulaOfThePaper) {
  Dice dice(2);
  for (const Index len : {1, 2, 3, 5, 7, 11, 13}) {
    for (Index delta = 1; delta <= len + 1; ++delta) {
      for (Index w = 0; w <= len; w += 1 + w / 2) {
        Problem p = square_problem(len, dice.one_in(2));
        p.query_len = dice.between(1, len + 3);
        std::vector<Index> global;
        if (dice.one_in(2)) global.push_back(dice.below(len));
        expect_as_written_out(longformer_case(p, w, delta, global, dice.one_in(2)), dice);
        if (HasFatalFailure()) return;
      }
    }
  }
  for (int n = 0; n < 350; ++n) {
    const Problem p = drawn_problem(dice, dice.one_in(12) ? 331 : 97);
    std::vector<Index> global;
    if (p.key_len > 0 && dice.one_in(2)) {
      std::set<Index> tokens;
      for (Index count = dice.between(1, 5); count > 0; --count) {
        tokens.insert(dice.below(p.key_len));
      }
      global.assign(tokens.begin(), tokens.end());
      if (dice.one_in(2)) std::ranges::reverse(global);
    }
    const Index delta = dice.one_in(2)    ? 1
                        : dice.one_in(12) ? Index{1} << 20
                                          : dice.between(1, p.key_len / 2 + 2);
    expect_as_written_out(
        longformer_case(p, drawn_size(dice, p.key_len) - 1, delta, global, dice.one_in(2)), dice);
    if (HasFatalFailure()) return;
  }
}

// Patterns of blocks: a query before the first token counts to block 0.
Pattern of_blocks(Index block_size,
                  std::function<bool(Index head, Index row, Index column)> shown) {
  return [=](Index h, Index t, Index j) {
    return shown(h, std::max<Index>(t, 0) / block_size, j / block_size);
  };
}

// Qiu et al. 2020, section 3.1: block R attends to block R + s_h, cyclically.
PatternCase permutation_case(const Problem& p, Index n, const std::vector<Index>& shifts) {
  const Index size = std::max<Index>(1, (p.key_len + n - 1) / n);
  return {&kBlockPermutation,
          p,
          {{"num_blocks", text_of(n)}, {"shifts", shifts.empty() ? "auto" : text_of(shifts)}},
          of_blocks(size, [=](Index h, Index row, Index column) {
            const auto given = static_cast<Index>(shifts.size());
            const Index shift = given == 0 ? h : shifts[static_cast<size_t>(h % given)];
            return column == (row + shift % n) % n;
          })};
}

TEST(NamedPatterns, BlockPermutationIsTheFormulaOfThePaper) {
  Dice dice(3);
  for (const Index len : {1, 2, 3, 5, 7, 11, 13}) {
    for (Index n = 1; n <= len + 2; ++n) {
      Problem p = square_problem(len, dice.one_in(2));
      p.num_heads = p.num_kv_heads = dice.between(1, 4);
      p.query_len = dice.between(1, len + 3);
      expect_as_written_out(permutation_case(p, n, {}), dice);
      if (HasFatalFailure()) return;
    }
  }
  for (int n = 0; n < 300; ++n) {
    const Problem p = drawn_problem(dice, dice.one_in(12) ? 331 : 97);
    std::vector<Index> shifts;
    if (dice.one_in(2)) {
      Index count = dice.between(1, p.num_heads);
      while (p.num_heads % count != 0) --count;
      while (count-- > 0) shifts.push_back(dice.one_in(9) ? kHuge : dice.below(12));
    }
    expect_as_written_out(permutation_case(p, drawn_size(dice, p.key_len), shifts), dice);
    if (HasFatalFailure()) return;
  }
}

Index count_of_blocks(Index len, Index size) { return len / size + (len % size != 0 ? 1 : 0); }

// DeepSpeed's LocalSlidingWindow and Fixed, FlashAttention's butterfly.
PatternCase layout_case(const Problem& p, Index size, const std::string& layout) {
  const Index n = count_of_blocks(p.key_len, size);
  return {&kBlockSparse,
          p,
          {{"block_size", text_of(size)}, {"layout", layout}},
          of_blocks(size, [=](Index, Index row, Index column) {
            if (layout == "dense") return true;
            if (layout == "local") return std::abs(row - column) <= 1;
            if (layout == "fixed") {
              // A last window of fewer than 4 blocks has a block for everyone, too.
              return row / 4 == column / 4 || column % 4 == 3 || column == n - 1;
            }
            return std::popcount(static_cast<std::uint64_t>(row ^ column)) <= 1;
          })};
}

TEST(NamedPatterns, BlockSparseWithALayoutByNameIsThatLayout) {
  Dice dice(4);
  for (const char* layout : {"dense", "local", "fixed", "butterfly"}) {
    for (const Index len : {1, 2, 3, 5, 7, 11, 13}) {
      for (Index size = 1; size <= len + 1; ++size) {
        Problem p = square_problem(len, dice.one_in(2));
        p.query_len = dice.between(1, len + 3);
        expect_as_written_out(layout_case(p, size, layout), dice);
        if (HasFatalFailure()) return;
      }
    }
    for (int n = 0; n < 80; ++n) {
      const Problem p = drawn_problem(dice, dice.one_in(12) ? 331 : 97);
      expect_as_written_out(layout_case(p, drawn_size(dice, p.key_len), layout), dice);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(NamedPatterns, BlockSparseWithAFileIsTheFilesLayout) {
  Dice dice(5);
  const TemporaryFolder folder;
  for (int n = 0; n < 250; ++n) {
    const Problem p = drawn_problem(dice, dice.one_in(12) ? 331 : 97);
    if (p.key_len == 0) continue;  // no blocks: no file has that shape
    const Index size = drawn_size(dice, p.key_len), blocks = count_of_blocks(p.key_len, size);
    const bool alike = dice.one_in(2);
    const Index ones = dice.between(1, 4);  // one cell in so many
    std::vector<double> cells(static_cast<size_t>((alike ? 1 : p.num_heads) * blocks * blocks));
    for (double& cell : cells) cell = dice.one_in(ones) ? 1 : 0;
    const std::string path = folder / "layout" + std::to_string(n) + ".npy";
    std::vector<Index> shape = {p.num_heads, blocks, blocks};
    if (alike) shape.erase(shape.begin());
    if (dice.one_in(2)) {
      write_npy(path, shape, cells);
    } else {
      write_npy(path, shape, std::vector<float>(cells.begin(), cells.end()));
    }
    const Pattern pattern = of_blocks(size, [=](Index h, Index row, Index column) {
      const Index at = ((alike ? 0 : h) * blocks + std::min(row, blocks - 1)) * blocks + column;
      return cells[static_cast<size_t>(at)] == 1;
    });
    expect_as_written_out(
        {&kBlockSparse, p, {{"block_size", text_of(size)}, {"layout", path}}, pattern}, dice);
    if (HasFatalFailure()) return;
  }
}

// Which blocks BigBird shows to each block of queries: one token a block, no mask.
std::vector<std::set<Index>> shown_blocks(Index n, Index head, Index window, Index global,
                                          Index random, Index seed) {
  Problem p = square_problem(n);
  p.num_heads = p.num_kv_heads = 6;
  p.head_dim = p.value_dim = 1;
  const auto attention = make_with(kBigbird, p,
                                   {{"block_size", "1"},
                                    {"window_blocks", text_of(window)},
                                    {"global_blocks", text_of(global)},
                                    {"random_blocks", text_of(random)},
                                    {"seed", text_of(seed)}});
  const auto lines = picture(*attention, head);
  std::vector<std::set<Index>> shown;
  for (const std::string& line : lines) {
    shown.emplace_back();
    for (Index j = 0; j < n; ++j) {
      if (line[static_cast<size_t>(j)] == '1') shown.back().insert(j);
    }
  }
  return shown;
}

// pi_(head, R) without R itself, in order: what each further random block adds.
const std::vector<std::vector<Index>>& permutations(Index n, Index head, Index seed) {
  static std::map<std::array<Index, 3>, std::vector<std::vector<Index>>> known;
  auto [at, missing] = known.try_emplace({n, head, seed});
  auto& orders = at->second;
  if (!missing) return orders;
  orders.resize(static_cast<size_t>(n));
  std::vector<std::set<Index>> before = shown_blocks(n, head, 1, 0, 0, seed);
  for (Index random = 1; random < n; ++random) {
    const auto shown = shown_blocks(n, head, 1, 0, random, seed);
    for (size_t row = 0; row < orders.size(); ++row) {
      for (const Index block : shown[row]) {
        if (!before[row].contains(block)) orders[row].push_back(block);
      }
      EXPECT_EQ(orders[row].size(), static_cast<size_t>(random)) << "one block more, and no other";
      EXPECT_TRUE(std::ranges::includes(shown[row], before[row]));
    }
    before = shown;
  }
  return orders;
}

PatternCase bigbird_case(const Problem& p, Index size, Index window, Index global, Index random,
                         Index seed) {
  const Index n = count_of_blocks(p.key_len, size);
  const auto lasting = [=](Index row, Index column) {
    const Index first = (global + 1) / 2, last = global / 2;
    const auto is_global = [&](Index block) { return block < first || block >= n - last; };
    return std::abs(row - column) <= (window - 1) / 2 || is_global(row) || is_global(column);
  };
  std::vector<std::vector<std::set<Index>>> drawn(static_cast<size_t>(p.num_heads));
  for (Index h = 0; h < p.num_heads; ++h) {
    auto& of_head = drawn[static_cast<size_t>(h)];
    of_head.resize(static_cast<size_t>(n));
    if (random == 0) continue;
    for (Index row = 0; row < n; ++row) {
      for (const Index block : permutations(n, h, seed)[static_cast<size_t>(row)]) {
        auto& blocks = of_head[static_cast<size_t>(row)];
        if (static_cast<Index>(blocks.size()) < random && !lasting(row, block)) {
          blocks.insert(block);
        }
      }
    }
  }
  return {&kBigbird,
          p,
          {{"block_size", text_of(size)},
           {"window_blocks", text_of(window)},
           {"global_blocks", text_of(global)},
           {"random_blocks", text_of(random)},
           {"seed", text_of(seed)}},
          of_blocks(size, [=](Index h, Index row, Index column) {
            return lasting(row, column) ||
                   drawn[static_cast<size_t>(h)][static_cast<size_t>(row)].contains(column);
          })};
}

TEST(NamedPatterns, BigBirdIsTheFormulaOfThePaper) {
  Dice dice(6);
  for (const Index len : {1, 2, 3, 5, 7, 11, 13}) {
    for (Index size = 1; size <= len + 1; ++size) {
      for (int n = 0; n < 4; ++n) {
        Problem p = square_problem(len, dice.one_in(2));
        p.query_len = dice.between(1, len + 3);
        expect_as_written_out(bigbird_case(p, size, 1 + 2 * dice.below(4), dice.below(5),
                                           dice.below(4), dice.below(2)),
                              dice);
        if (HasFatalFailure()) return;
      }
    }
  }
  for (int n = 0; n < 300; ++n) {
    const Problem p = drawn_problem(dice, dice.one_in(12) ? 331 : 97);
    const Index size = drawn_size(dice, p.key_len);
    const bool few = count_of_blocks(p.key_len, size) <= 16;
    const Index window = dice.one_in(15) ? kHuge - 1 : 1 + 2 * dice.below(4),
                global = dice.one_in(15) ? kHuge : dice.below(5),
                random = !few              ? 0
                         : dice.one_in(15) ? kHuge
                                           : dice.below(4);
    expect_as_written_out(bigbird_case(p, size, window, global, random, dice.below(2)), dice);
    if (HasFatalFailure()) return;
  }
}

// The first draws of many seeds, heads and rows fall on all other blocks alike.
TEST(NamedPatterns, BigBirdDrawsEveryOtherBlockEquallyOften) {
  constexpr Index kBlocks = 11, kSeeds = 150;
  std::array<double, kBlocks> hits{};
  for (Index seed = 0; seed < kSeeds; ++seed) {
    for (const Index head : {0, 5}) {
      const auto shown = shown_blocks(kBlocks, head, 1, 0, 1, seed);
      for (Index row = 0; row < kBlocks; ++row) {
        const auto& blocks = shown[static_cast<size_t>(row)];
        ASSERT_EQ(blocks.size(), 2U);
        for (const Index block : blocks) {
          hits[static_cast<size_t>(remainder(block - row, kBlocks))] += block != row;
        }
      }
    }
  }
  const double expected = 2.0 * kSeeds * kBlocks / (kBlocks - 1);
  double chi_squared = 0;
  for (size_t n = 1; n < hits.size(); ++n) {
    chi_squared += (hits[n] - expected) * (hits[n] - expected) / expected;
  }
  EXPECT_LT(chi_squared, 33.7);  // 9 degrees of freedom, one in ten thousand
}

}  // namespace
}  // namespace longattn

// Reformer against Kitaev et al. 2020, section 2, written out: sort keys by bucket, cut, look back,
// unite the rounds. Only the hash of a vector is the variant's own, asked by its public class.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "tests/variants/hashing.h"
#include "tests/variants/written_out.h"

namespace longattn {
namespace {

struct Lsh {
  Index rounds = 4;
  Index bucket_size = 0, num_buckets = 0;  // 0: auto
  Index look_back = 1;
  bool shared_qk = false, across_buckets = false, wrap_around = false;
  Index seed = 1;

  OptionTexts options() const {
    const auto size = [](Index n) { return n == 0 ? std::string("auto") : text_of(n); };
    const auto flag = [](bool on) { return std::string(on ? "true" : "false"); };
    return {{"num_hashes", text_of(rounds)},    {"bucket_size", size(bucket_size)},
            {"num_buckets", size(num_buckets)}, {"look_back", text_of(look_back)},
            {"shared_qk", flag(shared_qk)},     {"across_buckets", flag(across_buckets)},
            {"wrap_around", flag(wrap_around)}, {"seed", text_of(seed)}};
  }
  LshSettings settings(const Problem& p) const {
    return LshSettings(p, Options(kReformer.options, options()));
  }
  // Tokens a bucket, and buckets up to 128, by the sentences of the header.
  Index tokens(Index key_len) const {
    if (bucket_size > 0) return bucket_size;
    return num_buckets > 0 ? (key_len + num_buckets - 1) / num_buckets : 64;
  }
  Index buckets(Index key_len) const {
    if (num_buckets > 0) return num_buckets;
    const Index size = tokens(key_len);
    return size >= key_len ? 1 : 2 * ((key_len + 2 * size - 1) / (2 * size));
  }
};

using Sets = std::vector<std::set<Index>>;  // keys of each query

// One round: which keys each query sees, before the mask.
void add_round(Sets& seen, const Lsh& lsh, Index chunk, const std::vector<Index>& query_buckets,
               const std::vector<Index>& key_buckets, Index keys) {
  std::vector<Index> sorted;
  for (Index j = 0; j < keys; ++j) sorted.push_back(j);
  const auto bucket = [&](Index j) { return key_buckets[static_cast<size_t>(j)]; };
  std::ranges::stable_sort(sorted, [&](Index j, Index l) { return bucket(j) < bucket(l); });
  if (keys == 0) return;
  const Index chunks = (keys + chunk - 1) / chunk;
  for (size_t i = 0; i < seen.size(); ++i) {
    const Index own = query_buckets[i];
    Index rank = 0, queries_alike = 0, keys_before = 0, keys_alike = 0;
    for (size_t other = 0; other < seen.size(); ++other) {
      if (query_buckets[other] != own) continue;
      ++queries_alike;
      rank += other < i;
    }
    for (Index j = 0; j < keys; ++j) {
      keys_before += bucket(j) < own;
      keys_alike += bucket(j) == own;
    }
    const Index anchor = std::min(keys_before + rank * keys_alike / queries_alike, keys - 1);
    for (Index back = 0; back <= std::min(lsh.look_back, chunks - 1); ++back) {
      Index c = anchor / chunk - back;
      if (c < 0 && !lsh.wrap_around) break;
      c = (c + chunks) % chunks;
      for (Index place = c * chunk; place < std::min((c + 1) * chunk, keys); ++place) {
        const Index j = sorted[static_cast<size_t>(place)];
        if (lsh.across_buckets || bucket(j) == own) seen[i].insert(j);
      }
    }
  }
}

Sets united(const Problem& p, const Lsh& lsh, const DrawnTensors& t, Index b, Index h) {
  const Index rotation = lsh.shared_qk ? h : p.kv_head(h);
  const Index keys = p.visible_key_len(b);
  const Index chunk = std::min(2 * lsh.tokens(p.key_len), std::max<Index>(keys, 1));
  Sets seen(static_cast<size_t>(p.query_len));
  if (p.query_len == 0) return seen;
  const auto queries = hashed(p, lsh.options(), t.tensors[0].view, b, h, rotation);
  const auto of_keys = lsh.shared_qk || p.key_len == 0
                           ? queries
                           : hashed(p, lsh.options(), t.tensors[1].view, b, p.kv_head(h), rotation);
  for (size_t round = 0; round < queries.size(); ++round) {
    add_round(seen, lsh, chunk, queries[round], of_keys[round], keys);
  }
  return seen;
}

Vectors normalised(Vectors vectors) {
  for (auto& v : vectors) {
    double square = 0;
    for (const double x : v) square += x * x;
    for (double& x : v) x = square > 0 ? x / std::sqrt(square) : 0;
  }
  return vectors;
}

Rows lsh_rows(const Problem& p, const Lsh& lsh, const DrawnTensors& t, Index b, Index h) {
  Sets sets = united(p, lsh, t, b, h);
  for (Index i = 0; i < p.query_len; ++i) {
    std::set<Index>& seen = sets[static_cast<size_t>(i)];
    std::erase_if(seen, [&](Index j) { return !mask_shows(p, b, i, j); });
    if (lsh.shared_qk && seen.size() > 1) seen.erase(i);
  }
  const Vectors queries = t.all(0, b, h);
  return softmax_rows(
      p, b, h, queries, lsh.shared_qk ? normalised(queries) : t.all(1, b, p.kv_head(h)),
      [&](Index i, Index j) { return sets[static_cast<size_t>(i)].contains(j) ? 1 : 0; });
}

void expect_formula(const Problem& p, const Lsh& lsh, Dice& dice) {
  const auto rows = [&](const DrawnTensors& t, Index b, Index h) {
    return lsh_rows(p, lsh, t, b, h);
  };
  expect_as_written_out({&kReformer, p, lsh.options(), rows}, dice);
  // "Scored pairs at most num_hashes min(2 bucket_size (look_back + 1), seen keys) a row".
  const Cost cost = make_with(kReformer, p, lsh.options())->cost(1);
  double most = 0;
  for (Index b = 0; b < p.batch; ++b) {
    for (Index i = 0; i < p.query_len; ++i) {
      const Index shown = p.visible_end(b, i);
      const double window = 2 * static_cast<double>(lsh.tokens(p.key_len)) *
                            static_cast<double>(std::min(lsh.look_back, p.key_len) + 1);
      most += static_cast<double>(p.num_heads * lsh.settings(p).rounds) *
              std::min(window, static_cast<double>(shown));
    }
  }
  EXPECT_LE(cost.scored_pairs, most);
}

Lsh drawn_lsh(Dice& dice, Problem& p) {
  Lsh lsh;
  lsh.rounds = dice.between(1, 5);
  switch (dice.below(4)) {  // both at once are refused, and more buckets than keys
    case 0:
      break;
    case 1:
      lsh.num_buckets = p.key_len < 2 || dice.one_in(6)
                            ? std::min<Index>(1, p.key_len)
                            : 2 * dice.between(1, std::min<Index>(20, p.key_len / 2));
      break;
    default:
      lsh.bucket_size = drawn_size(dice, p.key_len);
  }
  lsh.look_back = dice.one_in(10) ? kHuge : dice.below(4);
  lsh.across_buckets = dice.one_in(3);
  lsh.wrap_around = dice.one_in(3);
  lsh.seed = dice.below(3);
  lsh.shared_qk = dice.one_in(3);
  if (lsh.shared_qk) p.query_len = p.key_len;
  return lsh;
}

TEST(ReformerFormula, IsThePapersOnEveryShortLength) {
  Dice dice(1);
  for (const Index len : {1, 2, 3, 5, 7, 11, 13}) {
    for (Index size = 1; size <= len + 1; ++size) {
      for (int n = 0; n < 16; ++n) {
        Problem p = square_problem(len, dice.one_in(2));
        p.query_len = dice.between(1, len + 3);
        Lsh lsh = drawn_lsh(dice, p);
        lsh.bucket_size = size;
        lsh.num_buckets = 0;
        expect_formula(p, lsh, dice);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(ReformerFormula, IsThePapersOnDrawnProblems) {
  Dice dice(2);
  for (int n = 0; n < 600; ++n) {
    Problem p = drawn_problem(dice, dice.one_in(12) ? 331 : 97);
    const Lsh lsh = drawn_lsh(dice, p);
    expect_formula(p, lsh, dice);
    if (HasFatalFailure()) return;
  }
}

TEST(ReformerFormula, IsThePapersWithMoreThan128Buckets) {
  Dice dice(3);
  for (int n = 0; n < 30; ++n) {
    Problem p = drawn_problem(dice, 31);
    p.key_len = dice.between(260, 420);
    p.query_len = dice.between(1, 40);
    p.mask = {};
    p.mask.causal = dice.one_in(2);
    p.head_dim = 8;
    Lsh lsh = drawn_lsh(dice, p);
    lsh.bucket_size = dice.one_in(2) ? 1 : 0;
    lsh.num_buckets = lsh.bucket_size == 1 ? 0 : 4 * dice.between(33, 60);
    expect_formula(p, lsh, dice);
    if (HasFatalFailure()) return;
  }
}

TEST(ReformerFormula, SettingsAreWhatTheHeaderSays) {
  Dice dice(4);
  for (int n = 0; n < 2000; ++n) {
    Problem p = problem_of(dice.between(1, dice.one_in(3) ? 40000 : 500));
    Lsh lsh;
    if (dice.one_in(3)) {
      lsh.num_buckets = dice.one_in(9) ? 1 : 2 * dice.between(1, 64);
    } else if (dice.one_in(2)) {
      lsh.bucket_size = drawn_size(dice, p.key_len);
    }
    const LshSettings s = lsh.settings(p);
    const Index wanted = lsh.buckets(p.key_len);
    if (wanted <= 128) {
      ASSERT_EQ(s.num_buckets(), wanted);
    } else {
      ASSERT_GE(s.num_buckets(), wanted);
      ASSERT_LT(s.num_buckets(), wanted + wanted / 4 + 1);
      for (const Index factor : s.factors) ASSERT_EQ(factor % 2, 0);
    }
    ASSERT_EQ(std::min(s.chunk, p.key_len), std::min(2 * lsh.tokens(p.key_len), p.key_len));
  }
}

}  // namespace
}  // namespace longattn

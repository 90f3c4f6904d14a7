#include "variants/reformer/lsh.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/cross_polytope.h"
#include "core/random.h"

namespace longattn {
namespace {

constexpr Index kMostUnfactored = 128;
constexpr Index kDefaultBucketSize = 64;

Index ceil_div(Index x, Index y) { return x / y + (x % y != 0); }

// Two even factors, near each other, whose product is the least such that is >= buckets.
std::array<Index, 2> even_factors(Index buckets) {
  const auto root = std::sqrt(static_cast<double>(buckets));
  const Index first = 2 * static_cast<Index>(std::ceil(root / 2));
  return {first, 2 * ceil_div(buckets, 2 * first)};
}

// The same with product equal to buckets, a multiple of 4.
std::array<Index, 2> exact_even_factors(Index buckets) {
  Index first = 1;
  for (Index n = 1; n * n <= buckets / 4; ++n) {
    if (buckets / 4 % n == 0) first = n;
  }
  return {2 * first, buckets / (2 * first)};
}

}  // namespace

LshSettings::LshSettings(const Problem& p, const Options& options)
    : rounds(options.integer("num_hashes")),
      shared_qk(options.boolean("shared_qk")),
      across_buckets(options.boolean("across_buckets")),
      wrap_around(options.boolean("wrap_around")),
      seed(static_cast<std::uint64_t>(options.integer("seed"))) {
  const Index keys = std::max<Index>(p.key_len, 1);
  Index bucket_size = kDefaultBucketSize;
  if (!options.is_automatic("num_buckets")) {
    const Index buckets = options.integer("num_buckets");
    bucket_size = ceil_div(keys, buckets);
    factors =
        buckets > kMostUnfactored ? exact_even_factors(buckets) : std::array<Index, 2>{buckets, 1};
  } else {
    if (!options.is_automatic("bucket_size")) bucket_size = options.integer("bucket_size");
    const Index buckets = bucket_size >= keys ? 1 : 2 * ceil_div(keys, 2 * bucket_size);
    factors = buckets > kMostUnfactored ? even_factors(buckets) : std::array<Index, 2>{buckets, 1};
  }
  if (num_buckets() == 1) rounds = 1;
  chunk = bucket_size >= keys ? keys : std::min(2 * bucket_size, keys);
  look_back = std::min(options.integer("look_back"), chunks(keys) - 1);
}

std::string LshSettings::refusal(const Problem& p, const Options& options) {
  if (options.boolean("shared_qk") && p.query_len != p.key_len) {
    return fmt::format(
        "shared_qk takes the keys from the queries, so it needs as many of both; query_len is {}, "
        "key_len {}",
        p.query_len, p.key_len);
  }
  constexpr Index kMostTokens = 0x7FFFFFFF;
  if (std::max(p.key_len, p.query_len) > kMostTokens) {
    return fmt::format("it counts tokens in 32 bits: {} are more than {}",
                       std::max(p.key_len, p.query_len), kMostTokens);
  }
  if (options.is_automatic("num_buckets")) return "";
  const Index buckets = options.integer("num_buckets");
  if (!options.is_automatic("bucket_size")) {
    return fmt::format(
        "bucket_size {} and num_buckets {} are both given; one follows from the "
        "other",
        options.integer("bucket_size"), buckets);
  }
  if (buckets > std::max<Index>(p.key_len, 1)) {
    return fmt::format("num_buckets {} is more than key_len {}", buckets, p.key_len);
  }
  if (buckets > 1 && buckets % 2 != 0) {
    return fmt::format("num_buckets {} is odd: a direction and its opposite make two", buckets);
  }
  if (buckets > kMostUnfactored && buckets % 4 != 0) {
    return fmt::format(
        "num_buckets {} is more than {} and no product of two even factors: it must be a multiple "
        "of 4",
        buckets, kMostUnfactored);
  }
  return "";
}

LshHash::LshHash(const Problem& p, const LshSettings& settings)
    : head_dim_(p.head_dim),
      rounds_(settings.rounds),
      factors_(settings.factors),
      half_{settings.factors[0] / 2, settings.factors[1] / 2} {
  const Index heads = settings.rotation_heads(p);
  rotations_.resize(static_cast<size_t>(heads * head_dim_ * directions()));
  double* out = rotations_.data();
  for (Index head = 0; head < heads; ++head) {
    for (Index round = 0; round < rounds_; ++round) {
      for (size_t factor = 0; factor < 2; ++factor) {
        for (Index row = 0; row < head_dim_; ++row) {
          const CounterRandom random(
              settings.seed,
              make_stream(static_cast<std::uint64_t>(head), static_cast<std::uint64_t>(round),
                          static_cast<std::uint64_t>(row), factor));
          for (Index c = 0; c < half_[factor]; ++c) {
            // A float32 number, so that its products with float32 elements are exact.
            *out++ = static_cast<double>(
                static_cast<float>(random.normal(static_cast<std::uint64_t>(c))));
          }
        }
      }
    }
  }
}

const double* LshHash::rotation(Index head, Index round, int factor) const {
  const Index before = (head * rounds_ + round) * (half_[0] + half_[1]);
  return rotations_.data() + head_dim_ * (before + (factor == 0 ? 0 : half_[0]));
}

Index LshHash::scratch_doubles() const { return head_dim_ * (kHashVectors + 1); }

void LshHash::buckets(const ConstTensorView& rows, Index b, Index head, Index rotation_head,
                      Index first, Index count, double* scratch, std::int32_t* buckets,
                      Index stride) const {
  if (directions() == 0) {
    for (Index round = 0; round < rounds_; ++round) std::fill_n(buckets + round * stride, count, 0);
    return;  // one bucket: nothing to look at
  }
  const CrossPolytope hash = cross_polytope();
  double* row = scratch + head_dim_ * kHashVectors;
  for (Index begin = 0; begin < count; begin += kHashVectors) {
    const Index here = std::min(kHashVectors, count - begin);
    for (Index n = 0; n < kHashVectors; ++n) {
      // Where no vector is left the last one is hashed again.
      load_row(rows, b, head, first + begin + std::min(n, here - 1), row);
      for (Index k = 0; k < head_dim_; ++k) scratch[k * kHashVectors + n] = row[k];
    }
    for (Index round = 0; round < rounds_; ++round) {
      std::array<std::int32_t, kHashVectors> low{}, high{};
      if (half_[0] > 0) {
        hash(head_dim_, scratch, rotation(rotation_head, round, 0), half_[0], low.data());
      }
      if (half_[1] > 0) {
        hash(head_dim_, scratch, rotation(rotation_head, round, 1), half_[1], high.data());
      }
      for (Index n = 0; n < here; ++n) {
        const auto at = static_cast<size_t>(n);
        buckets[round * stride + begin + n] =
            low[at] + static_cast<std::int32_t>(factors_[0]) * high[at];
      }
    }
  }
}

}  // namespace longattn

#include "variants/reformer/lsh.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/cross_polytope.h"
#include "core/fetch.h"
#include "core/kernels.h"
#include "core/random.h"

namespace longattn {
namespace {

using kernels::kStrip;
static_assert(kHashVectors == kernels::kPanel);

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
  float* out = rotations_.data();
  for (Index head = 0; head < heads; ++head) {
    for (Index round = 0; round < rounds_; ++round) {
      for (size_t factor = 0; factor < 2; ++factor) {
        for (Index row = 0; row < head_dim_; ++row) {
          const CounterRandom random(
              settings.seed,
              make_stream(static_cast<std::uint64_t>(head), static_cast<std::uint64_t>(round),
                          static_cast<std::uint64_t>(row), factor));
          for (Index c = 0; c < half_[factor]; ++c) {
            *out++ = static_cast<float>(random.normal(static_cast<std::uint64_t>(c)));
          }
        }
      }
    }
  }
  pack_strips(heads);
}

// Strip by strip of kStrip directions, [head_dim][directions of the strip].
void LshHash::pack_strips(Index heads) {
  strips_.resize(rotations_.size());
  std::vector<double> squares(static_cast<size_t>(directions()));
  for (Index head = 0; head < heads; ++head) {
    float* strips = strips_.data() + head * head_dim_ * directions();
    std::ranges::fill(squares, 0.0);
    for (Index round = 0; round < rounds_; ++round) {
      for (int factor : {0, 1}) {
        const Index first = first_direction(round, factor),
                    half = half_[static_cast<size_t>(factor)];
        const float* rotation = rotations_.data() + head_dim_ * (head * directions() + first);
        for (Index k = 0; k < head_dim_; ++k) {
          for (Index c = 0; c < half; ++c) {
            const Index n = first + c, strip = n / kStrip * kStrip;
            const float number = rotation[k * half + c];
            strips[strip * head_dim_ + k * std::min(kStrip, directions() - strip) + n - strip] =
                number;
            squares[static_cast<size_t>(n)] += double{number} * double{number};
          }
        }
      }
    }
    for (double square : squares) longest_ = std::max(longest_, std::sqrt(square) * (1 + 0x1p-40));
  }
}

std::int32_t LshHash::exact_bucket(const float* row, Index rotation_head, Index round,
                                   int factor) const {
  const Index before = rotation_head * directions() + first_direction(round, factor);
  return cross_polytope(head_dim_, row, rotations_.data() + head_dim_ * before,
                        half_[static_cast<size_t>(factor)]);
}

const float* LshHash::row_floats(const ConstTensorView& rows, Index b, Index head, Index row,
                                 float* copy) const {
  if (rows.dtype == DType::float32) return rows.float_row(b, head, row);
  kernels::best().to_float(rows.dtype, rows.row(b, head, row), head_dim_, copy);
  return copy;
}

// A panel of vectors, their products with all directions, their uncertainties, and copies of rows.
Index LshHash::scratch_floats() const { return kHashVectors * (2 * head_dim_ + directions() + 1); }

void LshHash::buckets(const ConstTensorView& rows, Index b, Index head, Index rotation_head,
                      Index first, Index count, float* scratch, std::int32_t* buckets,
                      Index stride) const {
  if (directions() == 0) {
    for (Index round = 0; round < rounds_; ++round) std::fill_n(buckets + round * stride, count, 0);
    return;  // one bucket: nothing to look at
  }
  const auto& kernel = kernels::best();
  const DecideCrossPolytope decide = decide_cross_polytope();
  const float* strips = strips_.data() + rotation_head * head_dim_ * directions();
  float* panel = scratch;
  float* products = panel + kHashVectors * head_dim_;
  float* uncertainty = products + kHashVectors * directions();
  float* copies = uncertainty + kHashVectors;
  for (Index begin = 0; begin < count; begin += kHashVectors) {
    const Index here = std::min(kHashVectors, count - begin);
    std::array<const float*, kHashVectors> vectors{};
    for (Index n = 0; n < here; ++n) {
      vectors[static_cast<size_t>(n)] =
          row_floats(rows, b, head, first + begin + n, copies + n * head_dim_);
    }
    kernel.pack_panel(vectors.data(), here, head_dim_, panel);
    // The next vectors, which the next task begins with if this one is at its end.
    const Index next = first + begin + here;
    kernels::Ahead coming =
        rows_ahead(rows, b, head, next, 1, std::min(kHashVectors, rows.len() - next));
    for (Index n = 0; n < directions(); n += kStrip) {
      kernel.float32.scores(std::min(kStrip, directions() - n), head_dim_, strips + n * head_dim_,
                            panel, {0, kHashVectors}, products + n * kHashVectors, kHashVectors,
                            false, &coming);
    }
    find_uncertainties(panel, uncertainty);
    for (Index round = 0; round < rounds_; ++round) {
      for (int factor : {0, 1}) {
        const Index half = half_[static_cast<size_t>(factor)];
        std::array<std::int32_t, kHashVectors> found{};
        if (half > 0) {
          decide(half, products + first_direction(round, factor) * kHashVectors, uncertainty,
                 found.data());
        }
        for (Index n = 0; n < here; ++n) {
          const auto at = static_cast<size_t>(n);
          if (found[at] < 0) found[at] = exact_bucket(vectors[at], rotation_head, round, factor);
          std::int32_t& bucket = buckets[round * stride + begin + n];
          bucket =
              factor == 0 ? found[at] : bucket + static_cast<std::int32_t>(factors_[0]) * found[at];
        }
      }
    }
  }
}

void LshHash::find_uncertainties(const float* panel, float* uncertainty) const {
  constexpr size_t kTogether = 16;  // sums that stay in registers
  static_assert(kHashVectors % kTogether == 0);
  const CrossPolytopeUncertainty of_squares(head_dim_, longest_);
  for (Index first = 0; first < kHashVectors; first += kTogether) {
    std::array<float, kTogether> squares{};
    for (Index k = 0; k < head_dim_; ++k) {
      const float* row = panel + k * kHashVectors + first;
      for (size_t n = 0; n < kTogether; ++n) squares[n] += row[n] * row[n];
    }
    for (size_t n = 0; n < kTogether; ++n) *uncertainty++ = of_squares(squares[n]);
  }
}

}  // namespace longattn

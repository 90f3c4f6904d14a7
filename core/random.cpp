#include "core/random.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numbers>

namespace longattn {

std::array<std::uint32_t, 4> CounterRandom::block(std::uint64_t counter) const {
  constexpr std::uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr std::uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  auto c0 = static_cast<std::uint32_t>(counter), c1 = static_cast<std::uint32_t>(counter >> 32);
  auto c2 = static_cast<std::uint32_t>(stream_), c3 = static_cast<std::uint32_t>(stream_ >> 32);
  auto k0 = static_cast<std::uint32_t>(seed_), k1 = static_cast<std::uint32_t>(seed_ >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = kMultiplier0 * c0, p1 = kMultiplier1 * c2;
    const auto high0 = static_cast<std::uint32_t>(p0 >> 32);
    const auto high1 = static_cast<std::uint32_t>(p1 >> 32);
    c0 = high1 ^ c1 ^ k0;
    c1 = static_cast<std::uint32_t>(p1);
    c2 = high0 ^ c3 ^ k1;
    c3 = static_cast<std::uint32_t>(p0);
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  return {c0, c1, c2, c3};
}

namespace {

std::uint64_t join(std::uint32_t low, std::uint32_t high) {
  return static_cast<std::uint64_t>(high) << 32 | low;
}

double unit_interval(std::uint64_t bits) {
  return (static_cast<double>(bits >> 11) + 0.5) * 0x1p-53;
}

}  // namespace

std::uint64_t CounterRandom::bits(std::uint64_t counter) const {
  const auto words = block(counter);
  return join(words[0], words[1]);
}

double CounterRandom::uniform(std::uint64_t counter) const { return unit_interval(bits(counter)); }

std::uint64_t CounterRandom::below(std::uint64_t counter, std::uint64_t bound) const {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>((static_cast<Wide>(bits(counter)) * bound) >> 64);
}

std::array<double, 2> CounterRandom::normal_pair(std::uint64_t pair) const {
  const auto words = block(pair);
  const double radius = std::sqrt(-2 * std::log(unit_interval(join(words[0], words[1]))));
  const double angle = 2 * std::numbers::pi * unit_interval(join(words[2], words[3]));
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

double CounterRandom::normal(std::uint64_t counter) const {
  return normal_pair(counter / 2)[counter % 2];
}

std::uint64_t make_stream(std::uint64_t a, std::uint64_t b, std::uint64_t c, std::uint64_t d) {
  std::uint64_t state = 0;
  for (std::uint64_t part : {a, b, c, d}) {
    state += part + 0x9E3779B97F4A7C15;
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9;
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB;
    state ^= state >> 31;
  }
  return state;
}

Index permuted(const CounterRandom& random, Index size, Index n) {
  assert(0 <= n && n < size);
  int half_bits = 1;
  while ((std::uint64_t{1} << (2 * half_bits)) < static_cast<std::uint64_t>(size)) ++half_bits;
  const std::uint64_t half_mask = (std::uint64_t{1} << half_bits) - 1;
  // Four rounds of narrow halves make some pairs of places twice as likely as others (of 8, say);
  // two rounds more divide such a deviation by 2^half_bits. This leaves none above 2^-9 or so.
  const int rounds = std::max(4, 2 + (18 + half_bits - 1) / half_bits);
  auto value = static_cast<std::uint64_t>(n);
  do {
    std::uint64_t left = value >> half_bits, right = value & half_mask;
    for (std::uint64_t round = 0; round < static_cast<std::uint64_t>(rounds); ++round) {
      const std::uint64_t mixed = left ^ (random.bits(round << 48 | right) & half_mask);
      left = right;
      right = mixed;
    }
    value = left << half_bits | right;
  } while (value >= static_cast<std::uint64_t>(size));
  return static_cast<Index>(value);
}

}  // namespace longattn

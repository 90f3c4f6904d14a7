#pragma once

#include "experiments/inputs/generator.h"

namespace longattn {

// Below, s is the scale, d = head_dim, "normal" means independent normal numbers, T the
// `temperature`: the standard deviation of the scaled scores s q.k of unrelated tokens. Where one
// option asks for a share m of attention, the strength that gives it is solved for per query: of n
// unrelated keys with normal entries the expected weight of a query q is
//
//   E sum_j exp(s q.k_j) = n exp(s^2 |q|^2 / 2),                                              (1)
//
// and scores `sigma` of c planted keys give them the share m where
//
//   sigma = log(m / (1 - m)) + log(n / c) + s^2 |q|^2 / 2.                                    (2)
//
// (1) is what a row has only while chance decides about many keys: exp(s^2 |q|^2) <= n, the
// relative variance of the sum (the random energy model: Derrida 1981, Phys. Rev. B 24, 2613).
// Beyond it a few keys that score high by chance draw the row, and a share cannot be asked for:
// that is refused with the numbers. Shares are for Problems without documents and ALiBi slopes.

/// Normal queries, keys and values; queries have deviation T / (|s| sqrt d). Nearly uniform
/// attention for T <= 1: it flatters low-rank methods and slanders sparse ones, because no key
/// matters. Target: score deviation T.
extern const Generator kGaussian;

/// As gaussian in `rank` dimensions, zeros in the others: the score matrix has that rank. Shows
/// what a method gains from low rank. Target: effective rank of the scores.
extern const Generator kLowRank;

/// Keys and queries around `clusters` shared normal centres mu: k_j = (mu_c + spread e) / sqrt(1 +
/// spread^2), e normal, c drawn per token; the query at a token seeks its token's cluster. Topics:
/// what hashing (Reformer) is made for. Target: share `mass` of attention on the keys of the
/// query's cluster, with n keys and n / clusters of them planted. The other centres enter (2) one
/// by one, with the scores that they have, not by (1).
extern const Generator kClustered;

/// Score falls with distance x = |position(i) - j|: half of the dimensions are frequencies w_m,
///
///   s q_i.k_j = (peak / M) sum_m cos(w_m x) + T z_ij ~ peak - x^2 / (2 l^2)   for x << l
///   sqrt(peak)
///
/// with peak = 20, mean w_m^2 = 1 / (peak l^2), w_m even but jittered by seed, z from the other
/// half; so a row is a normal curve of deviation l = half_mass_distance / 0.6745 above a floor of
/// random scores, which holds I_0(peak / M)^M exp(-peak) n of it (refused above a tenth). What
/// windows are made for. Target: half-mass distance.
extern const Generator kLocal;

/// Each query finds `count` keys among normal ones, drawn anywhere among those it sees ("needle in
/// a haystack"): with r normal and orthogonal to the needles k_p, q = r + (sigma / s) w, w the
/// shortest vector with w.k_p = 1, so each needle scores sigma of (2). What windows and low rank
/// lose and content-based choice finds. Target: share `mass` on the needles.
extern const Generator kNeedle;

/// The first `count` tokens draw the share `mass` of every query (Xiao et al. 2024, "Efficient
/// streaming language models with attention sinks", section 3): sinks are sqrt(d) times a unit
/// vector to which other keys are orthogonal; a query's component along it is sigma / (s sqrt d).
/// What a plain window loses and a global token keeps. Target: share `mass` on the sinks.
extern const Generator kSinks;

}  // namespace longattn

#pragma once

#include <span>
#include <string>

#include "core/options.h"
#include "core/types.h"
#include "experiments/inputs/generator.h"

namespace longattn {

/// What a random number of an input is for.
enum class Draw : std::uint64_t {
  queries = 1,
  keys = 2,
  values = 3,
  centres = 4,
  cluster = 5,
  needles = 6,
  frequencies = 7,
};

/// Fills `row` with normal numbers of this deviation: element c a function of (seed, draw, batch
/// entry, head, token, c) alone, |token| < 2^39.
void normal_row(std::uint64_t seed, Draw draw, Index batch_entry, Index head, Index token,
                double deviation, std::span<double> row);

/// Deviation of query entries for which scores on standard normal keys in `dims` dimensions have
/// the deviation `temperature`. A scale of zero leaves nothing to set: then `temperature` itself.
double query_deviation(const Problem& problem, double temperature, Index dims);

/// Values drawn alike by all generators, and the seed.
class NormalValues : public InputSource {
 public:
  NormalValues(const Problem& problem, const Options& options);
  void value(Index batch_entry, Index kv_head, Index j, std::span<double> row) const override;

 protected:
  const Problem problem_;
  const std::uint64_t seed_;
};

Option seed_option();
Option temperature_option();
Option mass_option(std::string doc);

/// Why a share of attention cannot be asked for here at all (families.h); empty: it can.
std::string no_shares(const Problem& problem);
/// Why n keys with scores of this variance leave a row to chance; empty: they do not.
std::string left_to_chance(double variance, double n);
/// log(mass / (1 - mass)).
double log_odds(double mass);

}  // namespace longattn

#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/options.h"
#include "core/types.h"

namespace longattn {

/// Queries, keys and values of one Problem, row by row. A row is a pure function of (options, batch
/// entry, head, token): any thread or rank can draw any part, in any order, with the same bits.
/// Rows are in double; storage rounds them.
class InputSource {
 public:
  virtual ~InputSource() = default;
  virtual void query(Index batch_entry, Index head, Index i, std::span<double> row) const = 0;
  virtual void key(Index batch_entry, Index kv_head, Index j, std::span<double> row) const = 0;
  /// Independent standard normal numbers, unless a generator says otherwise.
  virtual void value(Index batch_entry, Index kv_head, Index j, std::span<double> row) const = 0;
  /// The keys that query i was made to find, seen by it or not; none where nothing is planted.
  virtual std::vector<Index> planted(Index batch_entry, Index head, Index i) const;
};

/// What can be measured of an input, on full attention (experiments/judge/inputs.h), and hence what
/// a generator can promise.
enum class InputMeasure {
  score_deviation,
  effective_rank,
  half_mass_distance,
  planted_mass,
};
std::string_view to_string(InputMeasure measure);
std::optional<InputMeasure> input_measure_from_string(std::string_view name);

/// What the knobs of a generator ask for.
struct InputTarget {
  InputMeasure measure;
  double asked;
};

/// One row of the table of generators. Its name is its YAML key. A generator with the option
/// `seed` draws everything by it.
struct Generator {
  std::string_view name;
  std::string_view summary;  ///< one line
  std::string_view why;      ///< what it shows about a variant, one or two sentences
  OptionList options;
  /// What `planted` keys are called: "needles"; empty: nothing is planted.
  std::string_view planted;
  /// Queries depend on how many keys they see, so that the first tokens of a longer input are a
  /// shorter input only with a causal mask and as many queries as keys; if false, always.
  bool queries_count_keys;
  /// Empty: the target can be met; else the reason, in one sentence.
  std::string (*unsupported)(const Problem&, const Options&);
  InputTarget (*target)(const Options&, const Problem&);
  /// Called only for what `unsupported` accepts; use make_source.
  std::unique_ptr<const InputSource> (*make)(const Problem&, const Options&);
};

/// The generators, in the order in which they are listed.
std::span<const Generator* const> generators();
/// The row with this name, or nullptr.
const Generator* find_generator(std::string_view name);
/// The same; throws OptionError when there is none.
const Generator& require_generator(std::string_view name);
/// Throws UnsupportedError ("needle: ...").
std::unique_ptr<const InputSource> make_source(const Generator& generator, const Problem& problem,
                                               const Options& options);

}  // namespace longattn

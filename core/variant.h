#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/attention.h"
#include "core/options.h"

namespace longattn {

/// What a variant declares about itself; the conformance kit tests what is declared.
struct Traits {
  enum class Rows {
    restricted,  ///< softmax on a subset of the visible keys
    stochastic,  ///< non-negative, and sum to one (or the row is zero)
    signed_,     ///< anything
  };
  enum class Causality {
    none,                   ///< does not take causal problems
    strict,                 ///< no future token changes anything, bitwise
    selection_sees_future,  ///< chooses keys by looking at the future (LSH, top-k blocks)
  };
  Rows rows = Rows::restricted;
  Causality causality = Causality::strict;
  bool exact = false;          ///< equals full attention
  bool content_based = false;  ///< which keys are weighed depends on queries and keys
  bool heads_alike = true;     ///< permuting heads permutes outputs
  bool prefix_stable = true;   ///< a causal pass equals every prefix computed separately
  bool nests = true;           ///< options marked `nested` keep their word with these options
};

/// Declared growth: time ~ length^time, workspace ~ length^memory, for long sequences.
struct Growth {
  double time = 2, memory = 1;
};

/// A tensor that a variant can read beside queries, keys and values. It has the shape of `like`.
struct ExtraTensor {
  enum class Like { queries, keys, values };
  std::string name;
  Like like;
  std::string doc;
};

/// One row of the table of variants. Its name is its file, its YAML key and its test.
struct Variant {
  std::string_view name;
  std::string_view summary;  ///< one line
  std::string_view paper;    ///< authors, year, title, section
  OptionList options;
  std::vector<ExtraTensor> extra;  ///< all of them given, or none

  /// Empty: supported; else the reason, in one sentence.
  std::string (*unsupported)(const Problem&, const Options&);
  Traits (*traits)(const Problem&, const Options&);
  Growth (*growth)(const Options&);
  /// The plan. Called only for what `unsupported` accepts; use make_attention.
  std::unique_ptr<const Attention> (*make)(const Problem&, const Options&);
  /// A word that must stand before the name wherever a figure of a variant with these options is
  /// told ("untrained"): labels, tables, results; empty, or no function: none.
  std::string (*remark)(const Options&) = nullptr;
};

/// What the variant remarks on these options; empty: nothing.
std::string remark_of(const Variant& variant, const Options& options);

/// Validates the problem, asks `unsupported`, makes the plan. Throws ProblemError,
/// UnsupportedError ("linformer: ...") or OptionError.
std::unique_ptr<const Attention> make_attention(const Variant& variant, const Problem& problem,
                                                const Options& options);

/// Throws ShapeError unless the extra tensors are exactly those that the variant declares, each
/// with the shape of what it is like, or none at all.
void check_extra(const Variant& variant, const Problem& problem, const Inputs& inputs);

/// The row with this name, or nullptr.
const Variant* find_variant(std::span<const Variant* const> table, std::string_view name);
/// The same; throws OptionError with the closest name when there is none.
const Variant& require_variant(std::span<const Variant* const> table, std::string_view name);

}  // namespace longattn

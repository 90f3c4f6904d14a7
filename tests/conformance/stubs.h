#pragma once

#include <array>
#include <string_view>

#include "core/variant.h"

namespace longattn {

/// How a stub is broken. Each is the plainest attention there is, with one thing wrong. `Declared`
/// in a comment: the definition has the same fault, so that forward agrees with it.
enum class Fault {
  none,
  none_selecting,  ///< honest, and chooses keys by looking at the direction of all of them
  scaled,          ///< scores times 1.02
  zero_forward,    ///< zeros in place of attention
  mean_forward,    ///< the mean value in place of attention
  overflow,        ///< exp of scores without subtracting the largest
  window_off_by_one,
  huge_rounding,  ///< declares a tolerance that hides everything
  wrong_logsumexp,
  empty_logsumexp,   ///< 0 in place of -inf where nothing is seen
  no_logsumexp,      ///< of a definition that has none
  hidden_weight,     ///< Declared: one future token is weighed
  zero_definition,   ///< Declared: zeros, posing as exact
  mean_definition,   ///< Declared: the mean value, posing as full
  leaky_sum,         ///< Declared: weights divided by their sum plus a little
  negative_weights,  ///< Declared: weights that sum to one and are not means
  sharpened,         ///< Declared: a softmax at twice the scale, posing as a restriction
  reads_hidden,      ///< adds 0 times each hidden value
  reads_unweighed,   ///< adds 0 times each value outside the window
  takes_causal,      ///< declares no causality and takes causal problems
  causal_leak,       ///< reads one future token
  posing_as_strict,  ///< Declared: selects by the future, posing as strict
  selects_by_size,   ///< Declared: selects by the future, also by the size of its keys
  depends_on_threads,
  changes_when_called_again,
  ignores_strides,
  writes_inputs,
  writes_beside,
  undeclared_workspace,
  keeps_workspace,  ///< never gives it back
  undeclared_heap,
  undercounts_pairs,
  plans_another_problem,
  leaks_between_batch_entries,
  heads_differ,         ///< Declared: head 0 sees itself alone
  depends_on_length,    ///< Declared: the window is a quarter of the length
  shrinks_with_budget,  ///< Declared: a larger nested option sees less
  refuses_everything,
  throws_in_make,
};
inline constexpr size_t kFaults = static_cast<size_t>(Fault::throws_in_make) + 1;

/// The stub with this fault. It has one option, `window`: tokens on each side, nested.
const Variant& stub(Fault fault);

/// A fault, what to call it, and the law that must catch it.
struct BrokenStub {
  Fault fault;
  std::string_view name, law;
};
extern const std::array<BrokenStub, kFaults - 2> kBrokenStubs;

}  // namespace longattn

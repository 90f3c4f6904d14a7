#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "experiments/check/case.h"

namespace longattn {

/// How a law was broken, with both numbers; nothing: it holds.
using Violation = std::optional<std::string>;

/// One sentence that is true of every variant that declares what `applies` asks for.
struct Law {
  std::string_view name, sentence;
  bool (*applies)(const Case&);
  Violation (*run)(const Case&);
  bool every_variant = false;  ///< must have run at least once, or the check has proved nothing
  bool long_too = false;       ///< also at 4,096 tokens
};

/// The laws, in the order in which they are reported. One explicit table: a law that is not in it
/// does not exist.
std::span<const Law> conformance_laws();

// What the output is: laws_of_values.cpp.
Violation forward_equals_definition(const Case& c);
Violation logsumexp_is_right(const Case& c);
Violation rounding_is_declared(const Case& c);
Violation definition_keeps_the_mask(const Case& c);
Violation equals_full_attention(const Case& c);
Violation constants_stay(const Case& c);
Violation outputs_stay_inside(const Case& c);
Violation restriction_identities(const Case& c);

// What is read: laws_of_reading.cpp.
Violation padding_is_unread(const Case& c);
Violation unweighed_is_unread(const Case& c);
Violation future_is_unread(const Case& c);
Violation selection_sees_directions(const Case& c);
Violation refuses_causal(const Case& c);

// How a pass behaves: laws_of_running.cpp.
Violation threads_do_not_matter(const Case& c);
Violation second_call_is_alike(const Case& c);
Violation strides_do_not_matter(const Case& c);
Violation inputs_stay(const Case& c);
Violation writes_stay_inside(const Case& c);
Violation workspace_is_declared(const Case& c);
Violation heap_is_left_alone(const Case& c);
Violation cost_is_declared(const Case& c);
Violation shapes_are_checked(const Case& c);

// One case against another: laws_of_relation.cpp.
Violation batch_entries_are_independent(const Case& c);
Violation heads_are_alike(const Case& c);
Violation prefixes_are_stable(const Case& c);
Violation nested_options_capture_more(const Case& c);

}  // namespace longattn

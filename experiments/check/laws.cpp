#include "experiments/check/laws.h"

#include <algorithm>
#include <array>

#include "experiments/measure/heap_counter.h"

namespace longattn {
namespace {

bool always(const Case&) { return true; }
bool means(const Case& c) { return c.rows_are_means(); }
bool restricted(const Case& c) { return c.is(Traits::Rows::restricted); }
bool exact(const Case& c) { return !c.with_extra && c.traits.exact; }
bool causal(const Case& c) { return c.problem.mask.causal; }
bool strict(const Case& c) {
  return c.problem.mask.causal && c.traits.causality == Traits::Causality::strict;
}
bool selecting(const Case& c) {
  return c.problem.mask.causal && c.traits.causality == Traits::Causality::selection_sees_future;
}
bool padded(const Case& c) { return !c.problem.mask.key_lengths.empty(); }
bool batched(const Case& c) { return c.problem.batch > 1; }
bool weights_show(const Case& c) { return !c.may_underflow(); }
bool heads_alike(const Case& c) {
  return !c.with_extra && c.traits.heads_alike && c.problem.num_heads > 1;
}
bool prefix_stable(const Case& c) {
  return !c.with_extra && c.problem.mask.causal && c.traits.prefix_stable &&
         c.traits.causality == Traits::Causality::strict;
}
bool nested(const Case& c) {
  return !c.with_extra && c.traits.nests && std::ranges::any_of(c.variant.options, &Option::nested);
}
bool heap_counted(const Case&) { return heap_counting_available(); }

constexpr auto kLaws = std::to_array<Law>({
    {"definition", "forward equals W V of the definition, to the derived tolerance", always,
     forward_equals_definition, true, true},
    {"rounding", "no more roundings are declared than an algorithm can need", always,
     rounding_is_declared, true, true},
    {"logsumexp", "logsumexp is the definition's, or refused where there is none", always,
     logsumexp_is_right, true, true},
    {"mask", "weights are finite, and zero on keys that the problem hides", always,
     definition_keeps_the_mask, true},
    {"exact", "the definition is full attention, and forward equals it", exact,
     equals_full_attention, false, true},
    {"constant", "rows sum to one or are zero: constant values come back", means, constants_stay},
    {"box", "outputs stay between the least and the largest visible value", means,
     outputs_stay_inside},
    {"restricted", "TV = lost mass, KL = -log of captured mass, and the error they imply",
     restricted, restriction_identities},
    {"padding", "NaN in padded keys and values changes nothing", padded, padding_is_unread},
    {"unweighed", "NaN where a row weighs nothing does not change that row", weights_show,
     unweighed_is_unread},
    {"causality", "a variant without causality refuses causal problems", causal, refuses_causal},
    {"future", "no future token changes an output", strict, future_is_unread},
    {"selection", "the future enters only through the direction of its keys", selecting,
     selection_sees_directions},
    {"threads", "1, 2 and 3 threads give the same bits", always, threads_do_not_matter, true, true},
    {"second_call", "a second call gives the same bits", always, second_call_is_alike, true},
    {"strides", "strided views give the same bits as contiguous ones", always,
     strides_do_not_matter, true},
    {"inputs", "inputs are not written to", always, inputs_stay, true},
    {"writes", "nothing is written beside the output rows", always, writes_stay_inside, true},
    {"workspace", "scratch memory stays within what cost() declares", always, workspace_is_declared,
     true, true},
    {"heap", "a second call takes no heap memory", heap_counted, heap_is_left_alone, false, true},
    {"cost", "declared costs are finite, and cover every pair that is weighed", always,
     cost_is_declared, true},
    {"shapes", "tensors that do not fit are refused with both numbers", always, shapes_are_checked,
     true},
    {"batch", "each batch entry is computed as if it were alone", batched,
     batch_entries_are_independent},
    {"heads", "permuting heads permutes outputs", heads_alike, heads_are_alike},
    {"prefix", "one causal pass equals every prefix computed separately", prefix_stable,
     prefixes_are_stable},
    {"nested", "a larger value of a nested option never captures less mass", nested,
     nested_options_capture_more},
});

}  // namespace

std::span<const Law> conformance_laws() { return kLaws; }

}  // namespace longattn

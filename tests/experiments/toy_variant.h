#pragma once

#include "core/variant.h"

namespace longattn {

/// Softmax attention in double, in a dozen lines, with an option `seed` (read by nobody), an option
/// `gain` on the scores and an extra tensor `global_values` that row 0 weighs instead of `values`.
/// For tests of what is around a variant.
const Variant& toy_variant();

/// The same without options and extra tensors, whose logsumexp is not defined.
const Variant& plain_toy_variant();

}  // namespace longattn

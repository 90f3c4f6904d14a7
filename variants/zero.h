#pragma once

#include "core/variant.h"

namespace longattn {

/// The output that costs nothing: W = 0. Its relative error is exactly 1; an approximation that is
/// no better has learnt nothing about its input. No scratch, no arithmetic. Takes every part of the
/// Problem. No options, no paper.
extern const Variant kZero;

}  // namespace longattn

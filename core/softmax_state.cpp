#include "core/softmax_state.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace longattn {
namespace {
constexpr float kNothing = -std::numeric_limits<float>::infinity();
}

float logsumexp_from(float maximum, float sum) {
  if (sum == 0) return kNothing;
  return static_cast<float>(std::numbers::ln2 * static_cast<double>(maximum) +
                            std::log(static_cast<double>(sum)));
}

void reset(const SoftmaxState& state) {
  for (Index b = 0; b < state.accumulator.batch(); ++b) {
    for (Index h = 0; h < state.accumulator.heads(); ++h) {
      for (Index i = 0; i < state.accumulator.len(); ++i) {
        std::fill_n(state.accumulator.row(b, h, i), state.accumulator.dim(), 0.0f);
        *state.maximum.row(b, h, i) = kNothing;
        *state.sum.row(b, h, i) = 0;
      }
    }
  }
}

void finish(const SoftmaxState& state, const Outputs& outputs) {
  for (Index b = 0; b < state.accumulator.batch(); ++b) {
    for (Index h = 0; h < state.accumulator.heads(); ++h) {
      for (Index i = 0; i < state.accumulator.len(); ++i) {
        const float sum = *state.sum.row(b, h, i);
        const float inverse = sum == 0 ? 0.0f : 1.0f / sum;
        const float* accumulator = state.accumulator.row(b, h, i);
        float* output = outputs.output.row(b, h, i);
        for (Index c = 0; c < state.accumulator.dim(); ++c) output[c] = accumulator[c] * inverse;
        if (!outputs.logsumexp.empty()) {
          *outputs.logsumexp.row(b, h, i) = logsumexp_from(*state.maximum.row(b, h, i), sum);
        }
      }
    }
  }
}

}  // namespace longattn

#pragma once

#include <string>
#include <vector>

#include "core/types.h"

namespace longattn {

/// One Problem on which the laws are held, with the name under which violations call it.
struct Shape {
  std::string name;
  Problem problem;
  double temperature = 1;  ///< factor on the queries: standard deviation of scores at default scale
  bool broad = false;      ///< also for settings other than the defaults, in a quick check
  bool long_sequence = false;  ///< 4,096 tokens: sampled rows, and only the laws that can afford it
};

/// The shapes at which attention goes wrong: one and two tokens; lengths about the block sizes 32,
/// 64, 96 and 128; a prime; queries and keys of different number, both ways and none at all; odd
/// head and value dimensions; grouped heads; padding; documents; ALiBi; half precision; scores
/// beyond the range of a plain exp; and 4,096 tokens, where weights are small and a tolerance that
/// is too wide would hide what is wrong.
std::vector<Shape> conformance_shapes();

/// "batch 2, heads 4 on 2, query_len 33, key_len 97, head_dim 7, value_dim 33, causal, ...".
std::string describe(const Problem& problem);

}  // namespace longattn

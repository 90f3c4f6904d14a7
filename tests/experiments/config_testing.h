#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/variant.h"
#include "experiments/config/experiment.h"
#include "tests/temporary_folder.h"

namespace longattn {

/// Variants that compute nothing, for tests that must not depend on the built-in table:
/// `tiny` (window, ratio, pattern, tokens, tied, stride), `plain` (no options, refuses causal) and
/// `greedy` (predicts a workspace of key_len^2 GB; takes files: layout, span).
std::vector<const Variant*> tiny_variants();

/// Writes a trace with layers 0 and 1 of [heads, len, dim]: 4 query heads, 2 key heads, `queries`
/// and `keys` tokens, dim 8; metadata scale 0.25 and causal true.
void write_tiny_trace(const std::string& path, Index queries = 32, Index keys = 32);

inline constexpr std::string_view kGaussianText =
    "inputs: [gaussian: {temperature: 1}]\nproblem: {lengths: [16, 32]}\n";

/// Texts of configs: with the keys of `rest`; also with kGaussianText; with more
/// keys in `problem`; with some variants alone.
std::string config(std::string_view rest, std::string_view variants = "[plain]");
std::string with_gaussian(std::string_view rest, std::string_view variants = "[plain]");
std::string with_problem(std::string_view problem);
std::string with_variants(std::string_view variants);

/// Reads a config from text as <folder>/test.yaml.
Experiment read_text(const TemporaryFolder& folder, std::string_view text);

/// What the reader says of it, the folder's path taken out; empty when it is accepted.
std::string complaint(const TemporaryFolder& folder, std::string_view text);

}  // namespace longattn

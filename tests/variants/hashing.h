#pragma once

#include <vector>

#include "tests/variants/variant_testing.h"
#include "variants/reformer/lsh.h"
#include "variants/reformer/reformer.h"

namespace longattn {

using Buckets = std::vector<std::vector<Index>>;  // [round][row]

/// Buckets of all rows of one head in every round, as Reformer with these options hashes them.
inline Buckets hashed(const Problem& p, const OptionTexts& options, const ConstTensorView& rows,
                      Index batch_entry = 0, Index head = 0, Index rotation_head = 0) {
  const LshSettings settings(p, Options(kReformer.options, options));
  const LshHash hash(p, settings);
  const Index count = rows.len();
  std::vector<float> scratch(static_cast<size_t>(hash.scratch_floats()));
  std::vector<std::int32_t> flat(static_cast<size_t>(settings.rounds * count));
  hash.buckets(rows, batch_entry, head, rotation_head, 0, count, scratch.data(), flat.data(),
               count);
  Buckets result(static_cast<size_t>(settings.rounds));
  for (size_t n = 0; n < flat.size(); ++n) {
    result[n / static_cast<size_t>(count)].push_back(flat[n]);
  }
  return result;
}

}  // namespace longattn

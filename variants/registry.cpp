#include "variants/registry.h"

#include <array>

#include "variants/adaptive_span.h"
#include "variants/bigbird.h"
#include "variants/block_permutation.h"
#include "variants/block_sparse.h"
#include "variants/blockwise.h"
#include "variants/full.h"
#include "variants/linformer/linformer.h"
#include "variants/longformer.h"
#include "variants/low_rank_oracle.h"
#include "variants/mean_value.h"
#include "variants/random_keys.h"
#include "variants/reformer/reformer.h"
#include "variants/ring/ring.h"
#include "variants/sparse_transformer.h"
#include "variants/topk_oracle.h"
#include "variants/zero.h"

namespace longattn {

std::span<const Variant* const> builtin_variants() {
  static const std::array kTable = {
      &kFull,        &kBlockwise,  &kSparseTransformer, &kBigbird,    &kBlockPermutation,
      &kBlockSparse, &kLongformer, &kLinformer,         &kReformer,   &kAdaptiveSpan,
      &kRing,        &kTopkOracle, &kLowRankOracle,     &kRandomKeys, &kMeanValue,
      &kZero,
  };
  return kTable;
}

}  // namespace longattn

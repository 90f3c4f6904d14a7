#include "core/types.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace longattn {

std::string_view to_string(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return "float32";
    case DType::bfloat16:
      return "bfloat16";
    case DType::float16:
      return "float16";
  }
  return "?";
}

std::optional<DType> dtype_from_string(std::string_view name) {
  for (DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
    if (name == to_string(dtype)) return dtype;
  }
  return std::nullopt;
}

Index byte_size(DType dtype) { return dtype == DType::float32 ? 4 : 2; }

double Problem::effective_scale() const {
  return scale ? *scale : 1.0 / std::sqrt(static_cast<double>(head_dim));
}

Index Problem::visible_end(Index batch_entry, Index query) const {
  const Index end = visible_key_len(batch_entry);
  return mask.causal ? std::clamp(position(query) + 1, Index{0}, end) : end;
}

Index Problem::document(Index batch_entry, Index token) const {
  const auto& ids = mask.document_ids;
  if (ids.empty()) return 0;
  const bool per_batch = static_cast<Index>(ids.size()) != key_len;
  return ids[static_cast<size_t>(per_batch ? batch_entry * key_len + token : token)];
}

bool Problem::visible(Index batch_entry, Index query, Index key) const {
  if (mask.causal && key > position(query)) return false;
  if (key >= visible_key_len(batch_entry)) return false;
  if (!mask.document_ids.empty()) {
    return document(batch_entry, key) == document(batch_entry, position(query));
  }
  return true;
}

double Problem::bias(Index head, Index query, Index key) const {
  if (mask.alibi_slopes.empty()) return 0;
  const Index distance = std::abs(position(query) - key);
  return -mask.alibi_slopes[static_cast<size_t>(head)] * static_cast<double>(distance);
}

namespace {

void require_at_least(const char* name, Index value, Index least) {
  if (value < least) {
    throw ProblemError(fmt::format("{} is {}, must be at least {}", name, value, least));
  }
}

// Offsets are computed as products of sizes; a Problem whose tensors could not be addressed is
// refused here so that no kernel needs to think about overflow.
void require_addressable(const char* name, std::initializer_list<Index> sizes) {
  Index product = 8;
  for (Index size : sizes) {
    if (size > 0 && product > std::numeric_limits<Index>::max() / size) {
      throw ProblemError(fmt::format("{}: the tensor has more than 2^63 bytes", name));
    }
    product *= size;
  }
}

void validate_mask(const Problem& p) {
  const Mask& mask = p.mask;
  const auto lengths = static_cast<Index>(mask.key_lengths.size());
  if (lengths != 0 && lengths != p.batch) {
    throw ProblemError(fmt::format("key_lengths has {} entries, batch is {}", lengths, p.batch));
  }
  for (size_t b = 0; b < mask.key_lengths.size(); ++b) {
    const Index length = mask.key_lengths[b];
    if (length < 0 || length > p.key_len) {
      throw ProblemError(
          fmt::format("key_lengths[{}] is {}, must be in 0..{} (key_len)", b, length, p.key_len));
    }
  }
  const auto ids = static_cast<Index>(mask.document_ids.size());
  if (ids != 0 && ids != p.key_len && ids != p.batch * p.key_len) {
    throw ProblemError(
        fmt::format("document_ids has {} entries, expected key_len {} or batch * "
                    "key_len {}",
                    ids, p.key_len, p.batch * p.key_len));
  }
  if (ids != 0 && p.query_len > p.key_len) {
    throw ProblemError(
        fmt::format("document_ids need query_len <= key_len, because a query takes the document of "
                    "its token; query_len is {}, key_len {}",
                    p.query_len, p.key_len));
  }
  const auto slopes = static_cast<Index>(mask.alibi_slopes.size());
  if (slopes != 0 && slopes != p.num_heads) {
    throw ProblemError(
        fmt::format("alibi_slopes has {} entries, num_heads is {}", slopes, p.num_heads));
  }
  for (double slope : mask.alibi_slopes) {
    if (!std::isfinite(slope))
      throw ProblemError(fmt::format("alibi slope {} is not finite", slope));
  }
}

}  // namespace

void validate(const Problem& p) {
  require_at_least("batch", p.batch, 1);
  require_at_least("num_heads", p.num_heads, 1);
  require_at_least("num_kv_heads", p.num_kv_heads, 1);
  require_at_least("query_len", p.query_len, 0);
  require_at_least("key_len", p.key_len, 0);
  require_at_least("head_dim", p.head_dim, 1);
  require_at_least("value_dim", p.value_dim, 1);
  if (p.num_heads % p.num_kv_heads != 0) {
    throw ProblemError(fmt::format("num_heads {} is not a multiple of num_kv_heads {}", p.num_heads,
                                   p.num_kv_heads));
  }
  require_addressable("queries", {p.batch, p.num_heads, p.query_len, p.head_dim});
  require_addressable("keys", {p.batch, p.num_kv_heads, p.key_len, p.head_dim});
  require_addressable("values", {p.batch, p.num_kv_heads, p.key_len, p.value_dim});
  require_addressable("output", {p.batch, p.num_heads, p.query_len, p.value_dim});
  if (p.scale && !std::isfinite(*p.scale)) {
    throw ProblemError(fmt::format("scale {} is not finite", *p.scale));
  }
  validate_mask(p);
}

}  // namespace longattn

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longattn {

/// Lengths, counts and offsets, everywhere: a tensor may be larger than 2^31 elements.
using Index = std::int64_t;

/// How queries, keys and values are stored. Arithmetic accumulates in float32 whatever the storage.
enum class DType { float32, bfloat16, float16 };

std::string_view to_string(DType dtype);
/// Inverse of to_string; nothing for an unknown name.
std::optional<DType> dtype_from_string(std::string_view name);
Index byte_size(DType dtype);

/// Which keys a query may see, beyond what the variant itself leaves out, and the bias on its
/// scores.
///
/// Query i stands at token position(i) = i + key_len - query_len (bottom-right alignment). It sees
/// key j iff all of these hold:
///   causal:        j <= position(i), with key_len as padded
///   key_lengths:   j < key_lengths[batch]
///   document_ids:  document_ids[j] == document_ids[position(i)]
/// alibi_slopes adds -slope[head] * |position(i) - j| to the scaled score (Press et al. 2022).
struct Mask {
  bool causal = false;
  std::vector<Index> key_lengths;    ///< one per batch entry; empty: no padding
  std::vector<Index> document_ids;   ///< [key_len], or [batch * key_len]; empty: one document
  std::vector<double> alibi_slopes;  ///< one per query head; empty: no bias
};

/// What is asked: the same for every variant.
struct Problem {
  Index batch = 1;
  Index num_heads = 8;
  Index num_kv_heads = 8;  ///< query head h reads kv head h / (num_heads / num_kv_heads)
  Index query_len = 0;     ///< tokens
  Index key_len = 0;       ///< tokens
  Index head_dim = 64;     ///< elements per query and per key
  Index value_dim = 64;    ///< elements per value
  DType dtype = DType::float32;
  Mask mask;
  std::optional<double> scale;  ///< factor on q.k; default 1/sqrt(head_dim)

  double effective_scale() const;
  Index kv_head(Index head) const { return head / (num_heads / num_kv_heads); }
  /// Token position of query i; negative for the first queries when query_len > key_len.
  Index position(Index query) const { return query + key_len - query_len; }
  /// Keys that padding leaves in this batch entry.
  Index visible_key_len(Index batch_entry) const {
    return mask.key_lengths.empty() ? key_len : mask.key_lengths[static_cast<size_t>(batch_entry)];
  }
  /// Keys from here on are hidden from query i by padding or causality; documents may hide more.
  Index visible_end(Index batch_entry, Index query) const;
  /// Document of a token in a batch entry; 0 without documents.
  Index document(Index batch_entry, Index token) const;
  /// Whether the mask lets query i see key j. The definition; kernels use core/visibility.
  bool visible(Index batch_entry, Index query, Index key) const;
  /// -slope * |position(query) - key|, or 0 without slopes.
  double bias(Index head, Index query, Index key) const;
};

/// Throws ProblemError when a size is negative, heads do not divide, a mask has the wrong length,
/// or documents meet more queries than keys.
void validate(const Problem& problem);

/// A figure of a plan that only its variant knows, told beside the cost: what each rank sends.
struct PlanFigure {
  std::string name;            ///< snake_case, with its unit last: "rank_sent_bytes"
  std::vector<double> values;  ///< one, or one a part in their order

  bool operator==(const PlanFigure&) const = default;
};

}  // namespace longattn

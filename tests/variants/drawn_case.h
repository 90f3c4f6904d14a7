#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/random.h"
#include "tests/variants/variant_testing.h"

namespace longattn {

/// Numbers that a case is drawn with.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  Index below(Index bound) {
    return static_cast<Index>(random_.below(counter_++, static_cast<std::uint64_t>(bound)));
  }
  Index between(Index first, Index last) { return first + below(last - first + 1); }
  bool one_in(Index n) { return below(n) == 0; }
  template <class T, size_t kCount>
  T of(const T (&list)[kCount]) {
    return list[below(kCount)];
  }

 private:
  CounterRandom random_;
  std::uint64_t counter_ = 0;
};

/// Lengths around small blocks and large tiles, masks of all kinds, few heads.
Problem drawn_problem(Dice& dice, Index longest = 97);

inline constexpr Index kHuge = Index{1} << 40;
/// A size in tokens: 1 .. len + 1, or far beyond.
Index drawn_size(Dice& dice, Index len);

inline std::string text_of(Index number) { return std::to_string(number); }
inline std::string text_of(const std::vector<Index>& numbers) {
  return to_text(OptionValue(numbers));
}

/// The Problem's mask, from the sentences of core/types.h.
bool mask_shows(const Problem& p, Index b, Index i, Index j);
/// The Problem's scale and bias, from the same.
double scale_of(const Problem& p);
double bias_of(const Problem& p, Index h, Index i, Index j);

/// A tensor of normal numbers, stored as [batch, len, heads, dim] with gaps behind every row, full
/// of NaN; it begins one element into its buffer.
struct StridedTensor {
  StridedTensor(const std::array<Index, 4>& shape, DType dtype, std::uint64_t seed,
                double deviation = 1);
  void* element(Index b, Index h, Index i, Index c);
  void set(Index b, Index h, Index i, const std::vector<double>& row);
  void poison(Index b, Index h, Index i);  ///< with NaN
  std::vector<double> row(Index b, Index h, Index i) const;

  Tensor buffer;
  ConstTensorView view;
};

using Vectors = std::vector<std::vector<double>>;

/// Queries, keys and values of a Problem, always the same for the same Problem; and the three extra
/// tensors of Longformer if asked for.
struct DrawnTensors {
  explicit DrawnTensors(const Problem& p, bool own_projections = false, double deviation = 1);
  Inputs inputs() const { return {tensors[0].view, tensors[1].view, tensors[2].view, extra}; }
  std::vector<double> query(Index b, Index h, Index i) const { return tensors[0].row(b, h, i); }
  std::vector<double> key(Index b, Index kv, Index j) const { return tensors[1].row(b, kv, j); }
  std::vector<double> value(Index b, Index kv, Index j) const { return tensors[2].row(b, kv, j); }
  Vectors all(size_t tensor, Index b, Index head) const;  ///< rows of one of the tensors

  std::vector<StridedTensor> tensors;  // queries, keys, values, and the same once more if extra
  std::vector<NamedTensor> extra;
};

}  // namespace longattn

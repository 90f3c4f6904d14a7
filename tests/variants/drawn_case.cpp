#include "tests/variants/drawn_case.h"

#include <array>
#include <cmath>

namespace longattn {

Problem drawn_problem(Dice& dice, Index longest) {
  Problem p;
  p.key_len = dice.one_in(40)  ? 0
              : dice.one_in(3) ? dice.between(1, longest)
                               : std::min(longest, dice.between(1, 24));
  p.query_len = dice.one_in(2) ? p.key_len : dice.between(1, p.key_len + p.key_len / 2 + 2);
  p.num_kv_heads = dice.between(1, 3);
  p.num_heads = p.num_kv_heads * dice.between(1, 2);
  p.batch = dice.one_in(3) ? 2 : 1;
  p.head_dim = dice.of<Index>({1, 3, 4, 8, 17});
  p.value_dim = dice.of<Index>({1, 2, 5, 8, 19});
  p.dtype = dice.of({DType::float32, DType::float32, DType::bfloat16, DType::float16});
  if (dice.one_in(5)) p.scale = 0.75;
  p.mask.causal = dice.one_in(2);
  if (dice.one_in(4)) {
    for (Index b = 0; b < p.batch; ++b) p.mask.key_lengths.push_back(dice.between(0, p.key_len));
  }
  if (p.query_len <= p.key_len && dice.one_in(3)) {
    const Index count = (dice.one_in(2) ? p.batch : 1) * p.key_len;
    Index document = 5;
    for (Index j = 0; j < count; ++j) {
      if (dice.one_in(7)) document = dice.between(0, 9);
      p.mask.document_ids.push_back(document);
    }
  }
  if (dice.one_in(4)) {
    for (Index h = 0; h < p.num_heads; ++h) {
      p.mask.alibi_slopes.push_back(std::ldexp(1, -static_cast<int>(h)) / 2);
    }
  }
  return p;
}

Index drawn_size(Dice& dice, Index len) {
  return dice.one_in(12) ? kHuge
                         : dice.between(1, dice.one_in(2) ? std::min<Index>(len, 8) + 1 : len + 1);
}

bool mask_shows(const Problem& p, Index b, Index i, Index j) {
  const Index t = i + p.key_len - p.query_len;
  if (p.mask.causal && j > t) return false;
  if (!p.mask.key_lengths.empty() && j >= p.mask.key_lengths[static_cast<size_t>(b)]) return false;
  const auto& ids = p.mask.document_ids;
  if (ids.empty()) return true;
  const Index first = static_cast<Index>(ids.size()) == p.key_len ? 0 : b * p.key_len;
  return ids[static_cast<size_t>(first + t)] == ids[static_cast<size_t>(first + j)];
}

double scale_of(const Problem& p) {
  return p.scale.value_or(1 / std::sqrt(static_cast<double>(p.head_dim)));
}

double bias_of(const Problem& p, Index h, Index i, Index j) {
  if (p.mask.alibi_slopes.empty()) return 0;
  const Index distance = std::abs(i + p.key_len - p.query_len - j);
  return -p.mask.alibi_slopes[static_cast<size_t>(h)] * static_cast<double>(distance);
}

StridedTensor::StridedTensor(const std::array<Index, 4>& shape, DType dtype, std::uint64_t seed,
                             double deviation)
    : buffer({1, 1, 1, 1 + shape[0] * shape[2] * shape[1] * (shape[3] + 3)}, dtype) {
  const Index row = shape[3] + 3;
  view = {buffer.bytes_begin() + byte_size(dtype),
          dtype,
          shape,
          {shape[2] * shape[1] * row, row, shape[1] * row}};
  const float nan = std::nanf("");
  for (Index n = 0; n < buffer.size(); ++n) {
    store_floats(dtype, &nan, 1, buffer.bytes_begin() + n * byte_size(dtype));
  }
  const CounterRandom random(seed);
  std::uint64_t counter = 0;
  for (Index b = 0; b < shape[0]; ++b) {
    for (Index h = 0; h < shape[1]; ++h) {
      for (Index i = 0; i < shape[2]; ++i) {
        for (Index c = 0; c < shape[3]; ++c) {
          const auto value = static_cast<float>(deviation * random.normal(counter++));
          store_floats(dtype, &value, 1, element(b, h, i, c));
        }
      }
    }
  }
}

void* StridedTensor::element(Index b, Index h, Index i, Index c) {
  return buffer.bytes_begin() +
         (1 + b * view.strides[0] + h * view.strides[1] + i * view.strides[2] + c) *
             byte_size(view.dtype);
}

void StridedTensor::set(Index b, Index h, Index i, const std::vector<double>& row) {
  for (Index c = 0; c < view.dim(); ++c) {
    const auto value = static_cast<float>(row.at(static_cast<size_t>(c)));
    store_floats(view.dtype, &value, 1, element(b, h, i, c));
  }
}

void StridedTensor::poison(Index b, Index h, Index i) {
  set(b, h, i, std::vector<double>(static_cast<size_t>(view.dim()), std::nan("")));
}

std::vector<double> StridedTensor::row(Index b, Index h, Index i) const {
  std::vector<double> result(static_cast<size_t>(view.dim()));
  load_row(view, b, h, i, result.data());
  return result;
}

DrawnTensors::DrawnTensors(const Problem& p, bool own_projections, double deviation) {
  const std::array<Index, 4> q = {p.batch, p.num_heads, p.query_len, p.head_dim},
                             k = {p.batch, p.num_kv_heads, p.key_len, p.head_dim},
                             v = {p.batch, p.num_kv_heads, p.key_len, p.value_dim};
  std::uint64_t seed = 0;
  const auto draw = [&](const std::array<Index, 4>& shape, double width) {
    tensors.emplace_back(shape, p.dtype, ++seed, width);
  };
  draw(q, deviation), draw(k, 1), draw(v, 1);
  if (!own_projections) return;
  draw(q, deviation), draw(k, 1), draw(v, 1);
  size_t n = 3;
  for (const char* name : {"global_queries", "global_keys", "global_values"}) {
    extra.push_back({name, tensors[n++].view});
  }
}

Vectors DrawnTensors::all(size_t tensor, Index b, Index head) const {
  Vectors vectors;
  for (Index i = 0; i < tensors[tensor].view.len(); ++i) {
    vectors.push_back(tensors[tensor].row(b, head, i));
  }
  return vectors;
}

}  // namespace longattn

#include "experiments/check/shapes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace longattn {
namespace {

Problem sized(Index query_len, Index key_len, bool causal = false) {
  Problem p;
  p.num_heads = 2;
  p.num_kv_heads = 1;
  p.query_len = query_len;
  p.key_len = key_len;
  p.head_dim = 10;
  p.value_dim = 6;
  p.mask.causal = causal;
  return p;
}

Problem with_dims(Problem p, Index head_dim, Index value_dim) {
  p.head_dim = head_dim;
  p.value_dim = value_dim;
  return p;
}

Problem with_heads(Problem p, Index num_heads, Index num_kv_heads) {
  p.num_heads = num_heads;
  p.num_kv_heads = num_kv_heads;
  return p;
}

Problem with_scale(Problem p, double scale) {
  p.scale = scale;
  return p;
}

Problem stored_as(Problem p, DType dtype) {
  p.dtype = dtype;
  return p;
}

Problem with_padding(Problem p, std::vector<Index> key_lengths) {
  p.batch = static_cast<Index>(key_lengths.size());
  p.mask.key_lengths = std::move(key_lengths);
  return p;
}

Problem with_slopes(Problem p) {
  for (Index h = 0; h < p.num_heads; ++h) {
    p.mask.alibi_slopes.push_back(0.5 / static_cast<double>(h + 1));
  }
  return p;
}

// Runs of 1, 2, 3, .. tokens.
Problem with_documents(Problem p) {
  for (Index document = 0; static_cast<Index>(p.mask.document_ids.size()) < p.key_len; ++document) {
    p.mask.document_ids.insert(p.mask.document_ids.end(), static_cast<size_t>(document + 1),
                               document);
  }
  p.mask.document_ids.resize(static_cast<size_t>(p.key_len));
  return p;
}

// Ids that are neither sorted nor dense, and come back after other documents; each batch entry has
// its own.
Problem with_scattered_documents(Problem p) {
  static constexpr Index kIds[] = {7, 3, 1000000007};
  for (Index n = 0; n < p.batch * p.key_len; ++n) {
    p.mask.document_ids.push_back(kIds[(n / 5 + n / 17) % 3]);
  }
  return p;
}

void add_lengths(std::vector<Shape>& shapes) {
  shapes.push_back({"one token", sized(1, 1), 1, true});
  shapes.push_back({"one causal token", sized(1, 1, true)});
  shapes.push_back({"two tokens", sized(2, 2)});
  shapes.push_back({"two causal tokens", sized(2, 2, true), 1, true});
  static constexpr Index kHeadDims[] = {16, 7, 33, 24}, kValueDims[] = {12, 33, 8};
  Index count = 0;
  for (Index block : {32, 64, 96, 128}) {
    for (Index length : {block - 1, block, block + 1}) {
      const bool causal = count % 2 == 1;
      Problem p =
          with_dims(sized(length, length, causal), kHeadDims[count % 4], kValueDims[count % 3]);
      shapes.push_back({fmt::format("{} {}tokens", length, causal ? "causal " : ""), p, 1,
                        length == 33 || length == 64 || length == 127});
      ++count;
    }
  }
  shapes.push_back({"a prime number of tokens", with_heads(sized(257, 257), 1, 1)});
  shapes.push_back({"a prime number of causal tokens", with_heads(sized(257, 257, true), 1, 1)});
  shapes.push_back({"one query", sized(1, 129), 1, true});
  shapes.push_back({"one causal query", sized(1, 200, true)});
  shapes.push_back({"fewer queries than keys", sized(33, 97)});
  shapes.push_back({"fewer causal queries than keys", sized(33, 97, true), 1, true});
  shapes.push_back({"more queries than keys", sized(70, 41)});
  shapes.push_back({"more causal queries than keys", sized(70, 41, true), 1, true});
  Problem p = with_dims(with_heads(sized(3, 4200, true), 2, 1), 8, 8);
  p.batch = 2;
  shapes.push_back({"few queries over many keys", p});
  shapes.push_back({"many tiles", with_heads(sized(110, 900, true), 1, 1)});
  shapes.push_back({"no queries", sized(0, 33)});
  shapes.push_back({"no keys", sized(33, 0), 1, true});
}

void add_dimensions(std::vector<Shape>& shapes) {
  shapes.push_back({"head_dim 1", with_dims(sized(37, 37), 1, 5)});
  shapes.push_back({"value_dim 1", with_dims(sized(37, 37, true), 5, 1)});
  shapes.push_back({"value_dim beyond head_dim", with_dims(sized(40, 40, true), 7, 33)});
  shapes.push_back({"head_dim beyond value_dim", with_dims(sized(40, 40), 33, 7)});
  shapes.push_back({"wide heads", with_dims(sized(40, 40), 128, 128)});
  shapes.push_back({"grouped heads", with_heads(sized(45, 45, true), 6, 2), 1, true});
  shapes.push_back({"a key head per query head", with_heads(sized(45, 45), 3, 3)});
  shapes.push_back({"two batch entries", [] {
                      Problem p = with_heads(sized(35, 50, true), 2, 2);
                      p.batch = 2;
                      return p;
                    }()});
}

void add_masks(std::vector<Shape>& shapes) {
  shapes.push_back({"padding", with_padding(sized(50, 50), {0, 17, 50}), 1, true});
  shapes.push_back({"causal padding", with_padding(sized(20, 50, true), {49, 40, 1})});
  shapes.push_back({"documents", with_documents(sized(60, 60, true))});
  shapes.push_back({"scattered documents", with_scattered_documents(sized(60, 60)), 1, true});
  Problem p = sized(30, 75, true);
  p.batch = 2;
  shapes.push_back({"documents of each batch entry", with_scattered_documents(p)});
  shapes.push_back({"alibi", with_slopes(with_heads(sized(50, 50), 4, 2))});
  shapes.push_back({"causal alibi", with_slopes(with_heads(sized(40, 70, true), 4, 2)), 1, true});
  p = with_dims(with_heads(sized(43, 67, true), 4, 2), 9, 5);
  p = with_slopes(with_scattered_documents(with_padding(p, {67, 30})));
  shapes.push_back({"causal padded documents with alibi", p, 1, true});
}

void add_numbers(std::vector<Shape>& shapes) {
  shapes.push_back({"bfloat16", stored_as(sized(70, 70, true), DType::bfloat16), 1, true});
  shapes.push_back({"float16", stored_as(sized(70, 70), DType::float16)});
  shapes.push_back(
      {"padded float16", stored_as(with_padding(sized(40, 40, true), {40, 23}), DType::float16)});
  shapes.push_back({"sharp", sized(65, 65), 4, true});
  shapes.push_back({"scale 0", with_scale(sized(40, 40, true), 0)});
  shapes.push_back({"negative scale", with_scale(sized(40, 40), -0.4)});
  // Standard deviation 40: many scores beyond +-89, where a plain float exp overflows.
  shapes.push_back({"large scores", with_scale(sized(65, 65, true), 12.6), 1, true});
  Problem p = with_dims(with_heads(sized(4096, 4096), 1, 1), 32, 16);
  shapes.push_back({"4,096 tokens", p, 1, false, true});
  p.mask.causal = true;
  shapes.push_back({"4,096 sharp causal tokens", p, 4, false, true});
}

}  // namespace

std::vector<Shape> conformance_shapes() {
  std::vector<Shape> shapes;
  add_lengths(shapes);
  add_dimensions(shapes);
  add_masks(shapes);
  add_numbers(shapes);
  return shapes;
}

std::string describe(const Problem& p) {
  std::string text;
  if (p.batch != 1) text += fmt::format("batch {}, ", p.batch);
  text += fmt::format("heads {} on {}, query_len {}, key_len {}, head_dim {}, value_dim {}",
                      p.num_heads, p.num_kv_heads, p.query_len, p.key_len, p.head_dim, p.value_dim);
  if (p.dtype != DType::float32) text += fmt::format(", {}", to_string(p.dtype));
  if (p.mask.causal) text += ", causal";
  if (!p.mask.key_lengths.empty()) {
    text += fmt::format(", key_lengths {}", p.mask.key_lengths);
  }
  if (!p.mask.document_ids.empty()) text += ", documents";
  if (!p.mask.alibi_slopes.empty()) text += ", alibi";
  if (p.scale) text += fmt::format(", scale {}", *p.scale);
  return text;
}

}  // namespace longattn

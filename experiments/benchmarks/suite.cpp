#include "experiments/benchmarks/suite.h"

#include <fmt/format.h>

#include <cmath>
#include <string_view>
#include <utility>
#include <vector>

#include "core/matmul.h"
#include "experiments/benchmarks/subject.h"
#include "experiments/measure/ceilings.h"
#include "variants/blockwise.h"
#include "variants/full.h"
#include "variants/linformer/linformer.h"
#include "variants/longformer.h"
#include "variants/reformer/reformer.h"
#include "variants/ring/ring.h"

namespace longattn::benchmarks {
namespace {

// A ceiling shown as a row of its own: what a second gives is timed as if it were a pass.
class CeilingSubject final : public Subject {
 public:
  CeilingSubject(double (*measure)(ThreadArena&, double), int threads, bool of_memory)
      : measure_(measure), threads_(threads), of_memory_(of_memory) {}
  Work work() const override {
    return of_memory_ ? Work{.bytes_read = kUnits} : Work{.flops = kUnits};
  }
  double run() override { return kUnits / measure_(shared_context(threads_).arena(), 0.02); }
  std::string refusal() override { return ""; }

 private:
  static constexpr double kUnits = 1e9;
  double (*measure_)(ThreadArena&, double);
  int threads_;
  bool of_memory_;
};

// c = a b, float32, [m, n] x [n, p].
class MatmulSubject final : public Subject {
 public:
  MatmulSubject(Index m, Index n, Index p, bool transposed, int threads)
      : m_(m), n_(n), p_(p), transposed_(transposed), context_(shared_context(threads)) {
    // The three are queries, keys and outputs of a problem, for want of another source.
    problem_ = self_attention(m, 1, n, false);
    problem_.key_len = transposed ? p : n;
    problem_.value_dim = p;
    const InputTensors& tensors = shared_inputs(problem_);
    a_ = {tensors.queries.floats(), m, n, n};
    b_ = transposed ? ConstMatrix{tensors.keys.floats(), p, n, n}
                    : ConstMatrix{tensors.values.floats(), n, p, p};
    c_ = {shared_output(problem_).data, m, p, p};
  }
  Work work() const override {
    return {.flops =
                2.0 * static_cast<double>(m_) * static_cast<double>(n_) * static_cast<double>(p_)};
  }
  double run() override {
    context_.workspace().reset_peak();
    const double seconds = seconds_of([&] {
      transposed_ ? matmul_transposed(a_, b_, 1, c_, context_) : matmul(a_, b_, 1, c_, context_);
    });
    workspace_bytes_ = static_cast<double>(context_.workspace().peak_bytes());
    return seconds;
  }
  std::string refusal() override {
    fresh_output(problem_);
    run();
    for (const auto& [r, c] : {std::pair{Index{0}, p_ - 1}, {m_ / 2, p_ / 3}, {m_ - 1, p_ - 1}}) {
      double sum = 0, magnitude = 0;
      for (Index k = 0; k < n_; ++k) {
        const float b = transposed_ ? b_.data[c * b_.stride + k] : b_.data[k * b_.stride + c];
        const double term =
            static_cast<double>(a_.data[r * a_.stride + k]) * static_cast<double>(b);
        sum += term;
        magnitude += std::abs(term);
      }
      // n roundings of a sum of n products (Higham, section 3.1).
      const double bound = 0x1p-24 * static_cast<double>(n_) * magnitude;
      const double difference = std::abs(static_cast<double>(c_.data[r * c_.stride + c]) - sum);
      if (!(difference <= bound)) {
        return fmt::format("wrong: element ({}, {}) differs by {:.3g}, bound {:.3g}", r, c,
                           difference, bound);
      }
    }
    return "";
  }
  double workspace_bytes() const override { return workspace_bytes_; }

 private:
  Index m_, n_, p_;
  bool transposed_;
  Context& context_;
  Problem problem_;
  ConstMatrix a_{}, b_{};
  Matrix c_{};
  double workspace_bytes_ = 0;
};

void register_matmul(std::string_view group, Index m, Index n, Index p, bool transposed) {
  for (int threads : kThreads) {
    register_subject(fmt::format("{}/m:{}/n:{}/p:{}/transposed:{:d}/threads:{}", group, m, n, p,
                                 transposed, threads),
                     {}, threads,
                     [=] { return std::make_unique<MatmulSubject>(m, n, p, transposed, threads); });
  }
}

// A variant's default plan, its FLOP counted as the field counts dense attention.
void register_dense(std::string_view group, const Variant& variant, const Problem& p,
                    bool reads_memory = false) {
  for (int threads : kThreads) {
    register_subject(
        fmt::format("{}/{}", group, shape_name(p, threads)), p, threads, [=, &variant] {
          Work work = dense_work(p);
          if (reads_memory) {
            work.bytes_read = static_cast<double>(p.batch * p.num_kv_heads * p.key_len *
                                                  (p.head_dim + p.value_dim) * byte_size(p.dtype));
          }
          return make_attention_subject(variant, p, Options(variant.options), threads, &work);
        });
  }
}

using OptionTexts = std::vector<std::pair<std::string, std::string>>;

void register_variant(const std::string& group, const Variant& variant, const OptionTexts& options,
                      const Problem& p) {
  std::string name = group;
  for (const auto& [option, text] : options) name += fmt::format("/{}:{}", option, text);
  for (int threads : kThreads) {
    register_subject(fmt::format("{}/{}", name, shape_name(p, threads)), p, threads, [=, &variant] {
      return make_attention_subject(variant, p, Options(variant.options, options), threads);
    });
  }
}

}  // namespace

Problem self_attention(Index len, Index heads, Index head_dim, bool causal, DType dtype) {
  Problem p;
  p.num_heads = p.num_kv_heads = heads;
  p.query_len = p.key_len = len;
  p.head_dim = p.value_dim = head_dim;
  p.dtype = dtype;
  p.mask.causal = causal;
  return p;
}

std::vector<Problem> dense_problems() {
  std::vector<Problem> problems;
  for (Index d : {64, 128}) {
    for (bool causal : {false, true}) {
      for (const auto& [len, heads] : {std::pair<Index, Index>{1024, 8}, {4096, 8}, {16384, 2}}) {
        problems.push_back(self_attention(len, heads, d, causal));
      }
    }
  }
  return problems;
}

std::string shape_name(const Problem& p, int threads) {
  return fmt::format("{}/n:{}/h:{}/d:{}/causal:{:d}/threads:{}", to_string(p.dtype), p.key_len,
                     p.num_heads, p.head_dim, p.mask.causal, threads);
}

void register_ceilings() {
  for (int threads : kThreads) {
    register_subject(fmt::format("ceiling/fma/threads:{}", threads), {}, threads,
                     [=] { return std::make_unique<CeilingSubject>(fma_ceiling, threads, false); });
    register_subject(fmt::format("ceiling/read/threads:{}", threads), {}, threads,
                     [=] { return std::make_unique<CeilingSubject>(read_ceiling, threads, true); });
  }
  register_matmul("ceiling/matmul", 2048, 2048, 2048, false);
}

void register_engine() {
  for (const Problem& p : dense_problems()) {
    register_dense("engine", kBlockwise, p);
    if (p.key_len <= 4096) register_dense("full", kFull, p);
  }
  for (bool causal : {false, true}) {
    register_dense("engine", kBlockwise, self_attention(4096, 8, 128, causal, DType::bfloat16));
  }
  for (Index d : {40, 80, 96}) {
    register_dense("engine", kBlockwise, self_attention(4096, 8, d, false));
  }
  for (bool causal : {false, true}) {
    register_dense("engine", kBlockwise, self_attention(4093, 8, 64, causal));
  }
  Problem decode = self_attention(65536, 8, 128, false);
  decode.query_len = 1;
  register_dense("decode", kBlockwise, decode, true);
  // Products of attention: scores of one head, output of one head, a projection.
  register_matmul("matmul", 4096, 64, 4096, true);
  register_matmul("matmul", 4096, 4096, 64, false);
  register_matmul("matmul", 4096, 512, 512, true);
}

void register_variants(std::span<const Variant* const> variants) {
  const Problem middle = self_attention(4096, 8, 64, false),
                long_one = self_attention(16384, 2, 64, false);
  for (const Variant* variant : variants) {
    const std::string group = fmt::format("variant/{}", variant->name);
    const auto add = [&](const OptionTexts& options, const Problem& p) {
      register_variant(group, *variant, options, p);
    };
    const auto with_and_without_mask = [&](const OptionTexts& options) {
      add(options, middle);
      add(options, self_attention(4096, 8, 64, true));
    };
    with_and_without_mask({});
    if (variant == &kLongformer) {
      for (const char* window : {"64", "256", "1024"}) with_and_without_mask({{"window", window}});
      with_and_without_mask({{"window", "256"}, {"dilation", "4"}});
    } else if (variant == &kReformer) {
      add({{"num_hashes", "1"}}, long_one);
      add({{"num_hashes", "4"}}, long_one);
    } else if (variant == &kRing) {
      add({{"ranks", "2"}}, long_one);
    } else if (variant == &kLinformer) {
      // Its two halves apart: one query leaves the projections; the rest is dense attention over
      // the projected keys.
      Problem half = middle;
      half.query_len = 1;
      register_variant(group + "/projections", *variant, {}, half);
      half = middle;
      half.key_len = 256;
      register_dense(group + "/attention", kBlockwise, half);
    }
  }
}

}  // namespace longattn::benchmarks

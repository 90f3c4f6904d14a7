#include <dlfcn.h>
#ifdef LONGATTN_LIBXSMM
#include <libxsmm.h>
#endif

#include <algorithm>
#include <limits>
#include <numbers>

#include "core/error.h"
#include "core/kernels.h"
#include "experiments/benchmarks/gate.h"
#include "experiments/benchmarks/peers.h"
#include "variants/blockwise.h"

namespace longattn::benchmarks {
namespace {

class TiledSubject final : public Subject {
 public:
  TiledSubject(std::unique_ptr<TileLibrary> library, const Problem& problem, int threads)
      : library_(std::move(library)),
        tile_(library_->tile()),
        full_(make_attention(kBlockwise, problem, Options(kBlockwise.options))),
        context_(shared_context(threads)) {
    const Problem& p = full_->problem();
    if (p.query_len % tile_.queries != 0 || p.key_len % tile_.keys != 0) {
      throw UnsupportedError("lengths must be multiples of the tile");
    }
    const InputTensors& tensors = shared_inputs(p);
    inputs_ = {tensors.queries.view(), tensors.keys.view(), tensors.values.view(), {}};
    output_ = shared_output(p);
  }

  Work work() const override { return dense_work(full_->problem()); }
  double run() override {
    context_.workspace().reset_peak();
    const double seconds = seconds_of([&] { forward(); });
    workspace_bytes_ = static_cast<double>(context_.workspace().peak_bytes());
    return seconds;
  }
  std::string refusal() override {
    const TensorView output = fresh_output(full_->problem());
    run();
    return benchmarks::refusal(*full_, inputs_, output, kFloatBound);
  }
  double workspace_bytes() const override { return workspace_bytes_; }

 private:
  // What one worker needs for one block of queries.
  struct Scratch {
    float *scores, *target, *maximum, *sum;
  };

  void forward() {
    const Problem& p = full_->problem();
    const Workspace::Scope scope(context_.workspace());
    const float* keys = inputs_.keys.float_row(0, 0, 0);
    if (library_->transposed_keys()) keys = transpose_keys();
    const Index floats = tile_.queries * (tile_.keys + p.value_dim + 2);
    const std::span<float> scratch = context_.workspace().take<float>(context_.threads() * floats);
    const Index blocks = p.query_len / tile_.queries;
    context_.arena().for_each(blocks * p.num_heads, [&](Index task, int worker) {
      Scratch s;
      s.scores = scratch.data() + worker * floats;
      s.target = s.scores + tile_.queries * tile_.keys;
      s.maximum = s.target + tile_.queries * p.value_dim;
      s.sum = s.maximum + tile_.queries;
      // Under a causal mask the last blocks are the long ones; head by head, keys stay cached.
      attend(task / blocks, (blocks - 1 - task % blocks) * tile_.queries, keys, s);
    });
  }

  void attend(Index head, Index first, const float* keys, const Scratch& s) {
    const Problem& p = full_->problem();
    const auto& kernel = kernels::best();
    constexpr float kNothing = -std::numeric_limits<float>::infinity();
    const auto factor = static_cast<float>(p.effective_scale() * std::numbers::log2e);
    const float* queries = inputs_.queries.float_row(0, head, first);
    std::fill_n(s.target, tile_.queries * p.value_dim, 0.0f);
    std::fill_n(s.maximum, tile_.queries, kNothing);
    std::fill_n(s.sum, tile_.queries, 0.0f);
    const Index end = p.mask.causal ? first + tile_.queries : p.key_len;
    for (Index key = 0; key < end; key += tile_.keys) {
      const Index count = std::min(tile_.keys, end - key);
      library_->scores(queries, keys + (head * p.key_len + key) * p.head_dim, count, s.scores);
      for (Index r = 0; p.mask.causal && r < tile_.queries; ++r) {
        float* row = s.scores + r * tile_.keys;
        std::fill(row + std::clamp<Index>(first + r + 1 - key, 0, count), row + count, kNothing);
      }
      for (Index r = 0; r < tile_.queries; r += kernels::kStrip) {
        const Index rows = std::min(kernels::kStrip, tile_.queries - r);
        float correction[kernels::kStrip];
        kernel.float32.softmax(rows, count, factor, s.scores + r * tile_.keys, tile_.keys,
                               s.maximum + r, s.sum + r, correction);
        for (Index n = 0; n < rows; ++n) {
          if (correction[n] == 1) continue;
          float* row = s.target + (r + n) * p.value_dim;
          kernel.scale(row, p.value_dim, correction[n], row);
        }
      }
      library_->add_values(s.scores, inputs_.values.float_row(0, head, key), count, s.target);
    }
    float* out = output_.row(0, head, first);
    for (Index r = 0; r < tile_.queries; ++r) {
      for (Index c = 0; c < p.value_dim; ++c) {
        out[r * p.value_dim + c] = s.target[r * p.value_dim + c] / s.sum[r];
      }
    }
  }

  // Every tile of keys as [head_dim, keys], in blocks of 16 x 16.
  const float* transpose_keys() {
    const Problem& p = full_->problem();
    const std::span<float> all =
        context_.workspace().take<float>(p.num_heads * p.key_len * p.head_dim);
    const float* source = inputs_.keys.float_row(0, 0, 0);
    const Index size = tile_.keys * p.head_dim;
    context_.arena().for_each(p.num_heads * p.key_len / tile_.keys, [&](Index n, int) {
      const float* from = source + n * size;
      float* to = all.data() + n * size;
      for (Index c = 0; c < p.head_dim; c += 16) {
        for (Index r = 0; r < tile_.keys; r += 16) {
          for (Index x = c; x < c + 16; ++x) {
            for (Index y = r; y < r + 16; ++y) to[x * tile_.keys + y] = from[y * p.head_dim + x];
          }
        }
      }
    });
    return all.data();
  }

  std::unique_ptr<TileLibrary> library_;
  TileLibrary::Tile tile_;
  std::unique_ptr<const Attention> full_;
  Context& context_;
  Inputs inputs_;
  TensorView output_;
  double workspace_bytes_ = 0;
};

#ifdef LONGATTN_LIBXSMM

class Libxsmm final : public TileLibrary {
 public:
  explicit Libxsmm(Index head_dim) {
    const auto d = static_cast<int>(head_dim);
    for (int keys = kStep; keys <= kKeys; keys += kStep) {
      scores_.push_back(kernel({kQueries, keys, d}, {d, kKeys, kKeys}, 0));
      values_.push_back(kernel({kQueries, d, keys}, {kKeys, d, d}, 1));
    }
  }
  Tile tile() const override { return {kQueries, kKeys}; }
  bool transposed_keys() const override { return true; }
  void scores(const float* queries, const float* keys, Index count, float* scores) const override {
    scores_[which(count)](keys, queries, scores);
  }
  void add_values(const float* probs, const float* values, Index count,
                  float* target) const override {
    values_[which(count)](values, probs, target);
  }

 private:
  static constexpr int kQueries = 64, kKeys = 256, kStep = 64;
  struct Sizes {
    int m, n, k;
  };
  struct Strides {
    int a, b, c;
  };
  // Row-major c = beta c + a b is column-major c^T = beta c^T + b^T a^T.
  static libxsmm_smmfunction kernel(Sizes size, Strides stride, float beta) {
    const float alpha = 1;
    const int flags = LIBXSMM_GEMM_FLAG_NONE;
    const auto made = libxsmm_smmdispatch(size.n, size.m, size.k, &stride.b, &stride.a, &stride.c,
                                          &alpha, &beta, &flags, nullptr);
    if (made == nullptr) throw UnsupportedError("libxsmm makes no kernel for this processor");
    return made;
  }
  static size_t which(Index count) { return static_cast<size_t>(count / kStep - 1); }
  std::vector<libxsmm_smmfunction> scores_, values_;
};

#endif

// OpenBLAS, opened at run time: to be found it need not be there when this is built.
struct OpenBlas {
  // Order, transposition of a and b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc.
  void (*sgemm)(int, int, int, int, int, int, float, const float*, int, const float*, int, float,
                float*, int) = nullptr;
  std::string core;

  static const OpenBlas& get() {
    static const OpenBlas kOpened = open();
    return kOpened;
  }

 private:
  static OpenBlas open() {
    OpenBlas blas;
    void* handle = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) return blas;
    const auto find = [&](const char* name, auto& function) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
      return function != nullptr;
    };
    void (*set_threads)(int);
    char* (*core)();
    if (find("openblas_set_num_threads", set_threads) && find("openblas_get_corename", core) &&
        find("cblas_sgemm", blas.sgemm)) {
      set_threads(1);
      blas.core = core();
    }
    return blas;
  }
};

class OpenBlasTiles final : public TileLibrary {
 public:
  explicit OpenBlasTiles(Index head_dim) : d_(static_cast<int>(head_dim)) {}
  Tile tile() const override { return {kQueries, kKeys}; }
  bool transposed_keys() const override { return false; }
  void scores(const float* queries, const float* keys, Index count, float* scores) const override {
    OpenBlas::get().sgemm(kRowMajor, kPlain, kTransposed, kQueries, static_cast<int>(count), d_, 1,
                          queries, d_, keys, d_, 0, scores, kKeys);
  }
  void add_values(const float* probs, const float* values, Index count,
                  float* target) const override {
    OpenBlas::get().sgemm(kRowMajor, kPlain, kPlain, kQueries, d_, static_cast<int>(count), 1,
                          probs, kKeys, values, d_, 1, target, d_);
  }

 private:
  static constexpr int kQueries = 256, kKeys = 512;
  static constexpr int kRowMajor = 101, kPlain = 111, kTransposed = 112;  // of cblas.h
  int d_;
};

}  // namespace

std::unique_ptr<TileLibrary> make_libxsmm([[maybe_unused]] Index head_dim) {
#ifdef LONGATTN_LIBXSMM
  return std::make_unique<Libxsmm>(head_dim);
#else
  return nullptr;
#endif
}

std::unique_ptr<TileLibrary> make_openblas(Index head_dim) {
  if (openblas_core().empty()) return nullptr;
  return std::make_unique<OpenBlasTiles>(head_dim);
}

std::string openblas_core() { return OpenBlas::get().core; }

std::unique_ptr<Subject> make_tiled_subject(std::unique_ptr<TileLibrary> library,
                                            const Problem& problem, int threads) {
  return std::make_unique<TiledSubject>(std::move(library), problem, threads);
}

}  // namespace longattn::benchmarks

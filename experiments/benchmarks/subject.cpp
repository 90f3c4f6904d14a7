#include "experiments/benchmarks/subject.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <limits>
#include <map>
#include <optional>

#include "core/error.h"
#include "experiments/benchmarks/gate.h"
#include "experiments/measure/ceilings.h"
#include "variants/blockwise.h"

namespace longattn::benchmarks {
namespace {

class AttentionSubject final : public Subject {
 public:
  AttentionSubject(const Variant& variant, const Problem& problem, const Options& options,
                   int threads, const Work* work)
      : attention_(make_attention(variant, problem, options)),
        context_(shared_context(threads)),
        compare_(work == nullptr) {
    const InputTensors& tensors = shared_inputs(problem);
    inputs_ = {tensors.queries.view(), tensors.keys.view(), tensors.values.view(), {}};
    if (work != nullptr) {
      work_ = *work;
    } else {
      const Cost cost = attention_->cost(threads);
      work_ = {.flops = cost.flops, .scored_pairs = cost.scored_pairs};
    }
  }

  Work work() const override { return work_; }
  double run() override {
    const Outputs outputs = {shared_output(attention_->problem()), {}};
    context_.workspace().reset_peak();
    const double seconds = seconds_of([&] { attention_->forward(inputs_, outputs, context_); });
    workspace_bytes_ = static_cast<double>(context_.workspace().peak_bytes());
    return seconds;
  }
  std::string refusal() override {
    const TensorView output = fresh_output(attention_->problem());
    run();
    return benchmarks::refusal(*attention_, inputs_, output);
  }
  double workspace_bytes() const override { return workspace_bytes_; }
  bool compare_with_dense() const override { return compare_; }

 private:
  std::unique_ptr<const Attention> attention_;
  Inputs inputs_;
  Context& context_;
  Work work_;
  double workspace_bytes_ = 0;
  bool compare_;
};

// What a subject is compared with, measured around its passes.
struct Ceilings {
  double fma = 0, read = 0, dense_pairs = 0;
};

Ceilings measure_ceilings(const Subject& subject, Subject* dense, int threads) {
  ThreadArena& arena = shared_context(threads).arena();
  Ceilings ceilings;
  if (subject.work().bytes_read > 0) ceilings.read = read_ceiling(arena);
  if (dense != nullptr) ceilings.dense_pairs = dense->work().scored_pairs / dense->run();
  ceilings.fma = fma_ceiling(arena);
  return ceilings;
}

// A benchmark between its repetitions.
struct Slot {
  Problem problem;
  int threads;
  std::function<std::unique_ptr<Subject>()> make;
  std::unique_ptr<Subject> subject{}, dense{};
  std::optional<std::string> refused{};

  // The gate, passed once.
  const std::string& enter() {
    if (refused) return *refused;
    try {
      subject = make();
      refused = subject->refusal();
      if (refused->empty() && subject->compare_with_dense()) {
        // Two heads at the same length: long enough to be steady, short enough to be repeated.
        Problem p = problem;
        p.num_heads = p.num_kv_heads = 2;
        p.mask = {};
        const Work work = dense_work(p);
        dense = make_attention_subject(kBlockwise, p, Options(kBlockwise.options), threads, &work);
      }
    } catch (const UnsupportedError& e) {
      refused = std::string("not supported: ") + e.what();
    } catch (const std::exception& e) {
      refused = e.what();
    }
    return *refused;
  }
};

void repeat(benchmark::State& state, Slot& slot) {
  if (const std::string& reason = slot.enter(); !reason.empty()) {
    state.SkipWithError(reason.c_str());
    return;
  }
  Subject& subject = *slot.subject;
  Ceilings before;
  double seconds = 0;
  try {
    subject.prepare();
    before = measure_ceilings(subject, slot.dense.get(), slot.threads);
    for (auto _ : state) {
      const double pass = subject.run();
      state.SetIterationTime(pass);
      seconds += pass;
    }
  } catch (const std::exception& e) {
    state.SkipWithError(e.what());
    return;
  }
  const Ceilings after = measure_ceilings(subject, slot.dense.get(), slot.threads);

  const Work work = subject.work();
  const double passes_per_second = static_cast<double>(state.iterations()) / seconds;
  const auto count = [&](const char* name, const char* share, double per_pass, double low,
                         double high) {
    if (per_pass <= 0) return;
    const double rate = per_pass * passes_per_second;
    if (name != nullptr) state.counters[name] = rate;
    if (low + high > 0) state.counters[share] = rate / ((low + high) / 2);
  };
  count("flops", "of_peak", work.flops, before.fma, after.fma);
  count("bytes", "of_bandwidth", work.bytes_read, before.read, after.read);
  count(nullptr, "of_dense", work.scored_pairs, before.dense_pairs, after.dense_pairs);
  if (subject.workspace_bytes() > 0) state.counters["workspace"] = subject.workspace_bytes();
  state.SetLabel(subject.label());
}

using ShapeKey = std::array<Index, 8>;
ShapeKey shape_key(const Problem& p) {
  return {p.batch,   p.num_heads, p.num_kv_heads, p.query_len,
          p.key_len, p.head_dim,  p.value_dim,    static_cast<Index>(p.dtype)};
}

}  // namespace

void register_subject(const std::string& name, const Problem& problem, int threads,
                      std::function<std::unique_ptr<Subject>()> make) {
  auto slot = std::make_shared<Slot>(Slot{problem, threads, std::move(make)});
  benchmark::RegisterBenchmark(name.c_str(),
                               [slot](benchmark::State& state) { repeat(state, *slot); })
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

Work dense_work(const Problem& p) {
  Work work;
  work.scored_pairs = static_cast<double>(p.batch * p.num_heads) *
                      static_cast<double>(p.query_len) * static_cast<double>(p.key_len) *
                      (p.mask.causal ? 0.5 : 1.0);
  work.flops = 2.0 * static_cast<double>(p.head_dim + p.value_dim) * work.scored_pairs;
  return work;
}

std::unique_ptr<Subject> make_attention_subject(const Variant& variant, const Problem& problem,
                                                const Options& options, int threads,
                                                const Work* work) {
  return std::make_unique<AttentionSubject>(variant, problem, options, threads, work);
}

Context& shared_context(int threads) {
  static std::map<int, std::unique_ptr<Context>> contexts;
  auto& context = contexts[threads];
  if (!context) context = std::make_unique<Context>(threads);
  return *context;
}

const InputTensors& shared_inputs(const Problem& problem) {
  static std::map<ShapeKey, InputTensors> inputs;
  const auto [it, is_new] = inputs.try_emplace(shape_key(problem));
  if (is_new) it->second = make_inputs(generated_input("gaussian"), problem);
  return it->second;
}

TensorView shared_output(const Problem& problem) {
  static std::map<ShapeKey, Tensor> outputs;
  const auto [it, is_new] = outputs.try_emplace(shape_key(problem));
  if (is_new) {
    it->second = Tensor({problem.batch, problem.num_heads, problem.query_len, problem.value_dim});
  }
  return it->second.mutable_view();
}

TensorView fresh_output(const Problem& problem) {
  const TensorView output = shared_output(problem);
  std::fill_n(output.data, output.batch() * output.strides[0],
              std::numeric_limits<float>::quiet_NaN());
  return output;
}

double seconds_of(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace longattn::benchmarks

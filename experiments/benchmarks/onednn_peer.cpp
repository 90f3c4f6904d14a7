#ifdef LONGATTN_ONEDNN
#include <omp.h>

#include <oneapi/dnnl/dnnl.hpp>
#endif
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/error.h"
#include "experiments/benchmarks/gate.h"
#include "experiments/benchmarks/peers.h"
#include "variants/blockwise.h"

namespace longattn::benchmarks {

#ifdef LONGATTN_ONEDNN
namespace {

using dnnl::memory;
using Type = memory::data_type;
using Arguments = std::unordered_map<int, memory>;

// [len, len]: 0 where query r sees key c, else minus infinity. One for all subjects.
const float* causal_mask(Index len) {
  static std::map<Index, Tensor> masks;
  Tensor& mask = masks[len];
  if (mask.empty()) {
    mask = Tensor({1, 1, len, len});
    for (Index r = 0; r < len; ++r) {
      float* row = mask.floats() + r * len;
      std::fill(row + r + 1, row + len, -std::numeric_limits<float>::infinity());
    }
  }
  return mask.floats();
}

// A primitive and the implementation that the library chose for it.
struct Step {
  template <class Primitive>
  static Step of(const typename Primitive::primitive_desc& description) {
    return {Primitive(description), description.impl_info_str()};
  }
  dnnl::primitive primitive;
  std::string implementation;
};

class OnednnSubject final : public Subject {
 public:
  OnednnSubject(const Problem& problem, int threads)
      : full_(make_attention(kBlockwise, problem, Options(kBlockwise.options))),
        threads_(threads),
        context_(shared_context(threads)) {
    const Problem& p = full_->problem();
    const bool narrow = p.dtype == DType::bfloat16;
    const Type type = narrow ? Type::bf16 : Type::f32;
    using Dims = memory::dims;
    const Index n = p.query_len, m = p.key_len, d = p.head_dim, v = p.value_dim;
    const memory::desc queries({n, d}, type, Dims{d, 1}), keys({d, m}, type, Dims{1, d});
    const memory::desc values({m, v}, type, Dims{v, 1}), output({n, v}, Type::f32, Dims{v, 1});
    const memory::desc scores({n, m}, Type::f32, Dims{m, 1}), weights({n, m}, type, Dims{m, 1});

    omp_set_num_threads(threads_);  // primitives are cut for as many threads as when they are made
    dnnl::primitive_attr scaled;
    scaled.set_output_scales(0, {static_cast<float>(p.effective_scale())});
    if (p.mask.causal) {
      dnnl::post_ops add_mask;
      add_mask.append_binary(dnnl::algorithm::binary_add, scores);
      scaled.set_post_ops(add_mask);
    }
    scores_step_ = Step::of<dnnl::matmul>({{queries, keys, scores}, scaled, engine_});
    softmax_step_ =
        Step::of<dnnl::softmax_v2_forward>({{dnnl::prop_kind::forward_inference,
                                             dnnl::algorithm::softmax_accurate, scores, weights, 1},
                                            engine_});
    values_step_ = Step::of<dnnl::matmul>({{weights, values, output}, engine_});

    const auto view = [&](const memory::desc& layout, const void* data) {
      return memory(layout, engine_, const_cast<void*>(data));
    };
    const InputTensors& tensors = shared_inputs(p);
    inputs_ = {tensors.queries.view(), tensors.keys.view(), tensors.values.view(), {}};
    const TensorView out = shared_output(p);
    scores_ = view(scores, nullptr);
    weights_ = narrow ? view(weights, nullptr) : scores_;  // float32: in place
    for (Index group = 0; group < p.batch * p.num_heads; ++group) {
      const Index b = group / p.num_heads, head = group % p.num_heads;
      const Index kv = head / (p.num_heads / p.num_kv_heads);
      Arguments product = {{DNNL_ARG_SRC, view(queries, inputs_.queries.row(b, head, 0))},
                           {DNNL_ARG_WEIGHTS, view(keys, inputs_.keys.row(b, kv, 0))},
                           {DNNL_ARG_DST, scores_}};
      if (p.mask.causal) {
        product.emplace(DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1,
                        view(scores, causal_mask(m)));
      }
      score_arguments_.push_back(std::move(product));
      value_arguments_.push_back({{DNNL_ARG_SRC, weights_},
                                  {DNNL_ARG_WEIGHTS, view(values, inputs_.values.row(b, kv, 0))},
                                  {DNNL_ARG_DST, view(output, out.row(b, head, 0))}});
    }
    softmax_arguments_ = {{DNNL_ARG_SRC, scores_}, {DNNL_ARG_DST, weights_}};
  }

  Work work() const override { return dense_work(full_->problem()); }
  double run() override {
    const Problem& p = full_->problem();
    context_.workspace().reset_peak();
    const Workspace::Scope scope(context_.workspace());
    const Index pairs = p.query_len * p.key_len;
    scores_.set_data_handle(context_.workspace().take<float>(pairs).data());
    if (p.dtype == DType::bfloat16) {
      weights_.set_data_handle(context_.workspace().take<std::uint16_t>(pairs).data());
    }
    workspace_bytes_ = static_cast<double>(context_.workspace().peak_bytes());
    if (p.mask.causal) workspace_bytes_ += static_cast<double>(pairs) * sizeof(float);
    // Threads of OpenMP spin for milliseconds after their work, and would take them from what is
    // measured next: they end with the pass, and start before it, both untimed.
    omp_set_num_threads(threads_);
    execute(scores_step_, score_arguments_.front());
    const double seconds = seconds_of([&] {
      for (size_t group = 0; group < score_arguments_.size(); ++group) {
        execute(scores_step_, score_arguments_[group]);
        execute(softmax_step_, softmax_arguments_);
        execute(values_step_, value_arguments_[group]);
      }
    });
    omp_pause_resource_all(omp_pause_soft);
    return seconds;
  }
  std::string refusal() override {
    const Problem& p = full_->problem();
    const TensorView output = fresh_output(p);
    run();
    return benchmarks::refusal(*full_, inputs_, output,
                               p.dtype == DType::float32 ? kFloatBound : kBfloat16Bound);
  }
  double workspace_bytes() const override { return workspace_bytes_; }
  std::string label() const override {
    return fmt::format("{}, {}, {}", scores_step_.implementation, softmax_step_.implementation,
                       values_step_.implementation);
  }

 private:
  void execute(const Step& step, const Arguments& arguments) {
    step.primitive.execute(stream_, arguments);
    stream_.wait();
  }

  std::unique_ptr<const Attention> full_;
  int threads_;
  Context& context_;
  Inputs inputs_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  Step scores_step_, softmax_step_, values_step_;
  memory scores_, weights_;
  std::vector<Arguments> score_arguments_, value_arguments_;  // by (batch entry, head)
  Arguments softmax_arguments_;
  double workspace_bytes_ = 0;
};

}  // namespace
#endif

std::string onednn_version() {
#ifdef LONGATTN_ONEDNN
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("{}.{}.{}", version->major, version->minor, version->patch);
#else
  return "";
#endif
}

std::unique_ptr<Subject> make_onednn_subject([[maybe_unused]] const Problem& problem,
                                             [[maybe_unused]] int threads) {
#ifdef LONGATTN_ONEDNN
  try {
    return std::make_unique<OnednnSubject>(problem, threads);
  } catch (const dnnl::error& e) {
    if (e.status != dnnl_unimplemented) throw;
    throw UnsupportedError("oneDNN has no such primitive for this processor");
  }
#else
  return nullptr;
#endif
}

}  // namespace longattn::benchmarks

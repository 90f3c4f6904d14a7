#include "variants/ring/ring_rank.h"

#include <algorithm>
#include <cstring>

#include "core/blocked_attention.h"
#include "variants/ring/ring_schedule.h"

namespace longattn {
namespace {

ConstTensorView dense_view(const std::byte* data, DType dtype, const std::array<Index, 4>& shape) {
  return {data, dtype, shape, dense_strides(shape)};
}

// Rows of the tokens of a shard, one after the other, head by head.
std::byte* gather(const ConstTensorView& from, const Shard& shard, std::byte* to) {
  const Index bytes = from.dim() * byte_size(from.dtype);
  for (Index b = 0; b < from.batch(); ++b) {
    for (Index h = 0; h < from.heads(); ++h) {
      for (const TokenSet& segment : shard.segments()) {
        for (Index n = 0; n < segment.count; ++n, to += bytes) {
          std::memcpy(to, from.row(b, h, segment[n]), static_cast<size_t>(bytes));
        }
      }
    }
  }
  return to;
}

// Rows [first, first + count) of a view that is not empty, every stride-th of them.
TensorView rows_of(const TensorView& view, Index first, Index count, Index stride = 1) {
  if (view.empty()) return view;
  TensorView part = view;
  part.data += first * view.strides[2];
  part.shape[2] = count;
  part.strides[2] *= stride;
  return part;
}

}  // namespace

RingRank::RingRank(const RingPlan& plan, const Problem& whole, Communicator& communicator,
                   Workspace& workspace)
    : plan_(plan), whole_(whole), communicator_(communicator), rank_(communicator.rank()) {
  const Index len = plan.queries(rank_).size();
  const Index rows = whole.batch * whole.num_heads * len;
  queries_ = workspace.take<std::byte>(rows * whole.head_dim * byte_size(whole.dtype));
  for (int parity : {0, 1}) {
    buffers_[static_cast<size_t>(parity)] =
        workspace.take<std::byte>(plan.buffer_bytes(rank_, parity));
  }
  const auto view = [&](Index dim) -> TensorView {
    const std::array<Index, 4> shape = {whole.batch, whole.num_heads, len, dim};
    return {workspace.take<float>(rows * dim).data(), shape, dense_strides(shape)};
  };
  state_.accumulator = view(whole.value_dim);
  state_.maximum = view(1);
  state_.sum = view(1);
}

void RingRank::load(const Inputs& inputs, const Shard& queries, const Shard& keys) {
  gather(inputs.queries, queries, queries_.data());
  std::byte* values = gather(inputs.keys, keys, buffers_[0].data());
  gather(inputs.values, keys, values);
  reset(state_);
}

void RingRank::load(const Inputs& inputs) { load(inputs, plan_.queries(rank_), plan_.keys(rank_)); }

void RingRank::load_own(const Inputs& own) {
  Shard queries, keys;
  queries.append({0, plan_.queries(rank_).size()});
  keys.append({0, plan_.keys(rank_).size()});
  load(own, queries, keys);
}

std::span<std::byte> RingRank::block(int step) const {
  return buffers_[static_cast<size_t>(step % 2)].first(
      static_cast<size_t>(plan_.block_bytes(plan_.origin(rank_, step))));
}

void RingRank::post(int step) {
  if (plan_.receives(rank_, step)) {
    receiving_ = communicator_.irecv(block(step + 1), plan_.previous(rank_), step);
  }
  if (plan_.sends(rank_, step)) {
    sending_ = communicator_.isend(block(step), plan_.next(rank_), step);
  }
}

Inputs RingRank::inputs_of(int step) const {
  const Index len = plan_.keys(plan_.origin(rank_, step)).size();
  const std::byte* keys = block(step).data();
  const Index key_bytes =
      whole_.batch * whole_.num_kv_heads * len * whole_.head_dim * byte_size(whole_.dtype);
  const DType dtype = whole_.dtype;
  return {
      dense_view(queries_.data(), dtype,
                 {whole_.batch, whole_.num_heads, plan_.queries(rank_).size(), whole_.head_dim}),
      dense_view(keys, dtype, {whole_.batch, whole_.num_kv_heads, len, whole_.head_dim}),
      dense_view(keys + key_bytes, dtype,
                 {whole_.batch, whole_.num_kv_heads, len, whole_.value_dim}),
      {}};
}

void RingRank::compute(int step, Context& context) {
  const int origin = plan_.origin(rank_, step);
  if (plan_.pairs(rank_, origin) == 0) return;
  const Shard &queries = plan_.queries(rank_), &keys = plan_.keys(origin);
  const RingSchedule schedule(whole_, queries, keys);
  accumulate_attention(RingSchedule::local_problem(whole_, queries, keys), inputs_of(step),
                       schedule, state_, context);
}

void RingRank::complete(int, Communicator::Deadline deadline) {
  communicator_.wait(receiving_, deadline);
  communicator_.wait(sending_, deadline);
}

void RingRank::store(const Outputs& outputs) const {
  Index first = 0;
  for (const TokenSet& segment : plan_.queries(rank_).segments()) {
    const Index count = segment.count;
    const SoftmaxState own = {rows_of(state_.accumulator, first, count),
                              rows_of(state_.maximum, first, count),
                              rows_of(state_.sum, first, count)};
    finish(own, {rows_of(outputs.output, segment.begin, count, segment.stride),
                 rows_of(outputs.logsumexp, segment.begin, count, segment.stride)});
    first += count;
  }
}

}  // namespace longattn

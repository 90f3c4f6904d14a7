#include "variants/ring/ring_rank.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/blocked_attention.h"
#include "variants/ring/ring_schedule.h"

namespace longattn {
namespace {

ConstTensorView dense_view(const std::byte* data, DType dtype, const std::array<Index, 4>& shape) {
  return {data, dtype, shape, dense_strides(shape)};
}

// Rows of the tokens of a shard, one after the other, head by head, stored as `dtype`.
std::byte* gather(const ConstTensorView& from, const Shard& shard, DType dtype, std::byte* to) {
  const Index bytes = from.dim() * byte_size(dtype);
  std::vector<float> row(static_cast<size_t>(from.dtype == dtype ? 0 : from.dim()));
  for (Index b = 0; b < from.batch(); ++b) {
    for (Index h = 0; h < from.heads(); ++h) {
      for (const TokenSet& segment : shard.segments()) {
        for (Index n = 0; n < segment.count; ++n, to += bytes) {
          const void* source = from.row(b, h, segment[n]);
          if (from.dtype == dtype) {
            std::memcpy(to, source, static_cast<size_t>(bytes));
          } else {
            load_floats(from.dtype, source, from.dim(), row.data());
            store_floats(dtype, row.data(), from.dim(), to);
          }
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
  for (int place = 0; place < plan.places(); ++place) {
    buffers_[static_cast<size_t>(place)] =
        workspace.take<std::byte>(plan.buffer_bytes(rank_, place));
  }
  widened_ = workspace.take<std::byte>(plan.widened_bytes(rank_));
  const auto view = [&](Index dim) -> TensorView {
    const std::array<Index, 4> shape = {whole.batch, whole.num_heads, len, dim};
    return {workspace.take<float>(rows * dim).data(), shape, dense_strides(shape)};
  };
  state_.accumulator = view(whole.value_dim);
  state_.maximum = view(1);
  state_.sum = view(1);
}

void RingRank::load(const Inputs& inputs, const Shard& queries, const Shard& keys) {
  gather(inputs.queries, queries, whole_.dtype, queries_.data());
  std::byte* values = gather(inputs.keys, keys, plan_.wire(), buffers_[0].data());
  gather(inputs.values, keys, plan_.wire(), values);
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
  return buffers_[static_cast<size_t>(step % plan_.places())].first(
      static_cast<size_t>(plan_.block_bytes(plan_.origin(rank_, step))));
}

void RingRank::post(int step) {
  if (plan_.settings().all_gather) {
    if (step == 0) post_all();
    return;
  }
  if (plan_.receives(rank_, step)) {
    receiving_[slot(step + 1)] = communicator_.irecv(block(step + 1), plan_.previous(rank_), step);
  }
  if (plan_.sends(rank_, step)) {
    sending_[slot(step)] = communicator_.isend(block(step), plan_.next(rank_), step);
  }
}

// From and to every rank, by the steps at which they are needed.
void RingRank::post_all() {
  for (int step = 1; step < plan_.ranks(); ++step) {
    const int from = plan_.origin(rank_, step);
    if (!plan_.needs(rank_, from)) continue;
    receiving_[slot(step)] = communicator_.irecv(block(step), from, step);
  }
  for (int step = 1; step < plan_.ranks(); ++step) {
    const int to = (rank_ + step) % plan_.ranks();
    if (!plan_.needs(to, rank_)) continue;
    sending_[slot(step)] = communicator_.isend(block(0), to, step);
  }
}

// The block of a step in the Problem's storage type.
const std::byte* RingRank::widened(int step) const {
  const std::span<const std::byte> from = block(step);
  if (!plan_.rounds()) return from.data();
  load_floats(plan_.wire(), from.data(), static_cast<Index>(from.size()) / byte_size(plan_.wire()),
              reinterpret_cast<float*>(widened_.data()));
  return widened_.data();
}

Inputs RingRank::inputs_of(int step) const {
  const Index len = plan_.keys(plan_.origin(rank_, step)).size();
  const std::byte* keys = widened(step);
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
  const RingSchedule schedule(whole_, queries, keys, plan_.settings().window);
  accumulate_attention(RingSchedule::local_problem(whole_, queries, keys), inputs_of(step),
                       schedule, state_, context);
}

void RingRank::complete(int step, Communicator::Deadline deadline) {
  if (step + 1 < plan_.ranks()) communicator_.wait(receiving_[slot(step + 1)], deadline);
  communicator_.wait(sending_[slot(step)], deadline);
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

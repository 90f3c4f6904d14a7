#include "variants/ring/shaped_network.h"

#include <algorithm>
#include <thread>

namespace longattn {

ShapedNetwork::ShapedNetwork(const Cluster& cluster, int ranks, bool gathered, Time time)
    : cluster_(cluster),
      gathered_(gathered),
      time_(time),
      busy_until_(static_cast<size_t>(ranks), 0.0),
      wakes_(static_cast<size_t>(ranks), kRunning) {}

double ShapedNetwork::now_unlocked() const {
  if (time_ == Time::simulated) return now_;
  return std::chrono::duration<double>(Clock::now() - begin_).count();
}

double ShapedNetwork::now() const {
  const std::lock_guard lock(mutex_);
  return now_unlocked();
}

ShapedNetwork::Clock::time_point ShapedNetwork::at(double seconds) const {
  return begin_ +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

void ShapedNetwork::sleep_until(int rank, double seconds) {
  if (time_ == Time::real) return std::this_thread::sleep_until(at(seconds));
  std::unique_lock lock(mutex_);
  if (seconds > now_) sleep(lock, rank, seconds);
}

ShapedNetwork::Transfer ShapedNetwork::post(int side, const Envelope& envelope, Index bytes) {
  const std::lock_guard lock(mutex_);
  const auto other_half = std::ranges::find_if(half_posted_, [&](const Transfer& transfer) {
    return transfer->envelope == envelope && !transfer->posted[static_cast<size_t>(side)];
  });
  if (other_half == half_posted_.end()) {
    half_posted_.push_back(std::make_shared<Message>());
    half_posted_.back()->envelope = envelope;
    half_posted_.back()->posted[static_cast<size_t>(side)] = true;
    return half_posted_.back();
  }
  const Transfer transfer = *other_half;
  half_posted_.erase(other_half);
  transfer->posted[static_cast<size_t>(side)] = true;
  const auto [source, destination, tag] = envelope;
  double& busy_until = busy_until_[static_cast<size_t>(destination)];
  transfer->there = now_unlocked();
  if (source != destination) {
    const Link link = link_between(cluster_, static_cast<int>(busy_until_.size()), source,
                                   destination, gathered_);
    // The latency of the next message passes while this one comes in.
    transfer->there = std::max(transfer->there + link.latency, busy_until) +
                      static_cast<double>(bytes) / link.bandwidth;
    busy_until = transfer->there;
  }
  for (int waiter : transfer->waiter) {
    if (waiter >= 0) wakes_[static_cast<size_t>(waiter)] = transfer->there;
  }
  changed_.notify_all();
  return transfer;
}

ShapedNetwork::End ShapedNetwork::await(Message& message, int side, int rank,
                                        Communicator::Deadline deadline) {
  std::unique_lock lock(mutex_);
  while (!given_up_ && message.there > now_unlocked()) {
    if (time_ == Time::simulated) {
      message.waiter[static_cast<size_t>(side)] = rank;
      sleep(lock, rank, message.there);
      message.waiter[static_cast<size_t>(side)] = -1;
      continue;
    }
    const bool comes = message.there < kNever;
    if (Clock::now() >= deadline) return comes ? End::late : End::missing;
    changed_.wait_until(lock, comes ? std::min(deadline, at(message.there)) : deadline);
  }
  return given_up_ ? End::given_up : End::there;
}

void ShapedNetwork::give_up() {
  const std::lock_guard lock(mutex_);
  given_up_ = true;
  changed_.notify_all();
}

void ShapedNetwork::leave(int rank) {
  const std::lock_guard lock(mutex_);
  wakes_[static_cast<size_t>(rank)] = kNever;
  leap();
}

void ShapedNetwork::sleep(std::unique_lock<std::mutex>& lock, int rank, double until) {
  double& wakes = wakes_[static_cast<size_t>(rank)];
  wakes = until;
  leap();
  changed_.wait(lock, [&] { return wakes == kRunning || given_up_; });
}

void ShapedNetwork::leap() {
  const double first = std::ranges::min(wakes_);
  if (first == kRunning) return;
  if (first == kNever) {
    given_up_ = true;
  } else {
    now_ = first;
    for (double& wakes : wakes_) {
      if (wakes <= now_) wakes = kRunning;
    }
  }
  changed_.notify_all();
}

ShapedCommunicator::~ShapedCommunicator() {
  const int rank = inner_->rank();
  const bool left_something = !under_way_.empty();
  inner_.reset();  // fails the others, whom the network then wakes
  if (left_something) network_.give_up();
  network_.leave(rank);
}

// What fails one rank fails them all, and those that sleep must hear of it.
template <class Action>
auto ShapedCommunicator::or_wake_all(const Action& action) {
  try {
    return action();
  } catch (...) {
    network_.give_up();
    throw;
  }
}

Request ShapedCommunicator::isend(std::span<const std::byte> message, int destination, int tag) {
  return or_wake_all([&] {
    const auto bytes = static_cast<Index>(message.size());
    const Request request = inner_->isend(message, destination, tag);
    under_way_[request.id] = {network_.post(0, {rank(), destination, tag}, bytes), 0, bytes};
    return request;
  });
}

Request ShapedCommunicator::irecv(std::span<std::byte> buffer, int source, int tag) {
  return or_wake_all([&] {
    const auto bytes = static_cast<Index>(buffer.size());
    const Request request = inner_->irecv(buffer, source, tag);
    under_way_[request.id] = {network_.post(1, {source, rank(), tag}, bytes), 1, bytes};
    return request;
  });
}

void ShapedCommunicator::wait(Request& request, Deadline deadline) {
  if (!request.active()) return;
  const auto found = under_way_.find(request.id);
  const UnderWay own = found->second;
  under_way_.erase(found);
  using End = ShapedNetwork::End;
  const End end = network_.await(*own.transfer, own.side, rank(), deadline);
  or_wake_all([&] {
    // When nothing comes any more, without waiting for it.
    inner_->wait(request, end == End::given_up ? Deadline::min() : deadline);
    if (end != End::late) return;
    const std::string reason = overdue(rank(), own.transfer->envelope, 0, own.bytes);
    inner_->abort(reason);
    throw CommunicatorError(reason);
  });
}

void ShapedCommunicator::abort(std::string_view reason) noexcept {
  inner_->abort(reason);
  network_.give_up();
}

}  // namespace longattn

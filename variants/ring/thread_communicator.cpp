#include "variants/ring/thread_communicator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <memory>

namespace longattn {

ThreadTeam::ThreadTeam(int ranks, Workspace& workspace, int messages_of_rank)
    : ranks_(ranks), messages_(workspace.take<Message>(ranks * messages_of_rank)) {
  for (Message& message : messages_) std::construct_at(&message);
}

ThreadTeam::~ThreadTeam() = default;

Index ThreadTeam::workspace_bytes(int ranks, int messages_of_rank) {
  return Workspace::bytes_for<Message>(ranks * messages_of_rank);
}

void ThreadTeam::fail(const std::string& reason) {
  if (!failed_) reason_ = reason;
  failed_ = true;
  changed_.notify_all();
}

void ThreadTeam::abort(std::string_view reason) noexcept {
  const std::lock_guard lock(mutex_);
  try {
    fail(std::string(reason));
  } catch (const std::bad_alloc&) {  // then without a reason
    failed_ = true;
    changed_.notify_all();
  }
}

// The message if the other side is here already, else an unused one.
ThreadTeam::Message& ThreadTeam::slot_for(int side, const Envelope& envelope) {
  Message* unused = nullptr;
  for (Message& message : messages_) {
    if (message.state == Message::State::unused) {
      if (unused == nullptr) unused = &message;
      continue;
    }
    if (message.envelope != envelope || message.state != Message::State::posted) continue;
    if ((side == 0 ? message.sent : message.expected) < 0) return message;
  }
  if (unused == nullptr) {
    const std::string reason = fmt::format("{} messages are under way, at most {} may be",
                                           messages_.size(), messages_.size());
    fail(reason);
    throw CommunicatorError(reason);
  }
  *unused = Message{};
  unused->envelope = envelope;
  unused->state = Message::State::posted;
  return *unused;
}

Request ThreadTeam::post(int side, const std::byte* from, std::byte* to, Index bytes,
                         const Envelope& envelope) {
  assert(0 <= envelope.source && envelope.source < ranks_);
  assert(0 <= envelope.destination && envelope.destination < ranks_);
  std::unique_lock lock(mutex_);
  if (failed_) throw CommunicatorError(reason_);
  Message& message = slot_for(side, envelope);
  ++message.waiting;
  if (side == 0) {
    message.from = from;
    message.sent = bytes;
  } else {
    message.to = to;
    message.expected = bytes;
  }
  const Request request{2 * (&message - messages_.data()) + side};
  if (message.sent < 0 || message.expected < 0) return request;
  if (message.sent != message.expected) {
    const std::string reason = sizes_differ(envelope, message.sent, message.expected);
    fail(reason);
    throw CommunicatorError(reason);
  }
  message.state = Message::State::copying;
  lock.unlock();  // both buffers are left alone until they have been waited for
  if (message.sent > 0) {
    std::memcpy(message.to, message.from, static_cast<size_t>(message.sent));
  }
  lock.lock();
  message.state = Message::State::complete;
  changed_.notify_all();
  return request;
}

void ThreadTeam::wait(Request& request, int rank, Communicator::Deadline deadline) {
  Message& message = messages_[static_cast<size_t>(request.id / 2)];
  const bool sends = request.id % 2 == 0;
  request.id = -1;
  std::unique_lock lock(mutex_);
  using State = Message::State;
  const auto over = [&] { return message.state == State::complete || failed_; };
  const bool in_time = changed_.wait_until(lock, deadline, over);
  // A copy that has begun is waited for in any case: the caller may give up the buffer after this.
  changed_.wait(lock, [&] { return message.state != State::copying; });
  if (message.state == State::complete) {
    if (--message.waiting == 0) message = Message{};
    return;
  }
  if (!in_time) {
    fail(overdue(rank, message.envelope, 0, sends ? message.sent : message.expected));
  }
  throw CommunicatorError(reason_);
}

// The buffers of a rank that leaves must not be touched any more.
void ThreadTeam::leave(int rank) {
  std::unique_lock lock(mutex_);
  using State = Message::State;
  const auto own = [&](const Message& message) {
    return message.state != State::unused &&
           ((message.envelope.source == rank && message.sent >= 0) ||
            (message.envelope.destination == rank && message.expected >= 0));
  };
  const auto one = std::ranges::find_if(messages_, own);
  if (one != messages_.end()) fail(left_behind(rank, one->envelope));
  changed_.wait(lock, [&] {
    return std::ranges::none_of(messages_, [&](const Message& message) {
      return own(message) && message.state == State::copying;
    });
  });
}

Request ThreadCommunicator::isend(std::span<const std::byte> message, int destination, int tag) {
  const auto bytes = static_cast<Index>(message.size());
  const Request request = team_.post(0, message.data(), nullptr, bytes, {rank_, destination, tag});
  ++active_;
  bytes_sent_ += bytes;
  return request;
}

Request ThreadCommunicator::irecv(std::span<std::byte> buffer, int source, int tag) {
  const Request request = team_.post(1, nullptr, buffer.data(), static_cast<Index>(buffer.size()),
                                     {source, rank_, tag});
  ++active_;
  return request;
}

}  // namespace longattn

#pragma once

#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/types.h"

namespace longattn {

/// A transfer failed: sizes that differ, a deadline that passed, another rank that gave up. The
/// message names ranks, tag and both numbers. Afterwards the whole group is of no more use.
class CommunicatorError : public Error {
 public:
  using Error::Error;
};

/// A transfer under way; it must be waited for, and its buffer left alone until then.
struct Request {
  Index id = -1;
  bool active() const { return id >= 0; }
};

/// What identifies a message.
struct Envelope {
  int source = 0, destination = 0, tag = 0;
  bool operator==(const Envelope&) const = default;
};

/// How one rank talks to the others: bytes from buffer to buffer, in MPI's words.
///
/// A message is identified by its Envelope, 0 <= tag <= kMaxTag; no two with the same may be under
/// way at once. Neither call blocks, and a send is complete only when its receive has been posted,
/// so that a program which is right here is right with rendezvous over a network. Both sides say
/// how many bytes; if they differ both fail, with the same words. One communicator belongs to one
/// thread at a time. To destroy one whose transfers have not been waited for fails the group.
class Communicator {
 public:
  using Deadline = std::chrono::steady_clock::time_point;
  static constexpr int kMaxTag = 16000;

  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  virtual Request isend(std::span<const std::byte> message, int destination, int tag) = 0;
  virtual Request irecv(std::span<std::byte> buffer, int source, int tag) = 0;
  /// Returns when the transfer is complete, and makes the request inactive. An inactive request is
  /// complete. Throws CommunicatorError, at the latest at the deadline.
  virtual void wait(Request& request, Deadline deadline) = 0;
  /// Lets every wait of every rank fail with this reason.
  virtual void abort(std::string_view reason) noexcept = 0;

  /// Of all messages that have been sent so far.
  virtual Index bytes_sent() const = 0;
  /// What is under way, for messages of other threads: "; message 3 from ..: 0 of 64 bytes have
  /// moved"; empty: nothing, or not known.
  virtual std::string pending() const { return ""; }
};

/// So many from now.
Communicator::Deadline in_seconds(double seconds);

/// What each rank says, in the order of ranks, at every rank; all say as many bytes. Also a
/// barrier.
std::vector<std::byte> allgather(Communicator& communicator, std::span<const std::byte> own,
                                 Communicator::Deadline deadline);
/// The same of numbers.
std::vector<double> allgather(Communicator& communicator, std::span<const double> own,
                              Communicator::Deadline deadline);
/// What rank 0 says, at every rank.
std::string broadcast(Communicator& communicator, const std::string& said,
                      Communicator::Deadline deadline);

/// Sentences that all communicators fail with.
std::string sizes_differ(const Envelope& message, Index sent, Index expected);
std::string progress_of(const Envelope& message, Index moved, Index bytes);
std::string overdue(int rank, const Envelope& message, Index moved, Index bytes);
std::string left_behind(int rank, const Envelope& message);

}  // namespace longattn

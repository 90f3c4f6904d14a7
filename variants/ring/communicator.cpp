#include "variants/ring/communicator.h"

#include <fmt/format.h>

#include <algorithm>

namespace longattn {
namespace {

// The highest tags are those of what all ranks do together.
constexpr int kSpread = Communicator::kMaxTag, kGather = kSpread - 1;

std::string name_of(const Envelope& message) {
  const std::string ends =
      fmt::format("from rank {} to rank {}", message.source, message.destination);
  if (message.tag == kGather || message.tag == kSpread) return "a word to all " + ends;
  return fmt::format("message {} {}", message.tag, ends);
}

}  // namespace

Communicator::Deadline in_seconds(double seconds) {
  using Clock = std::chrono::steady_clock;
  return Clock::now() +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// To rank 0, and from there to all: few bytes, so that the number of messages is what counts.
std::vector<std::byte> allgather(Communicator& communicator, std::span<const std::byte> own,
                                 Communicator::Deadline deadline) {
  const size_t size = static_cast<size_t>(communicator.size());
  std::vector<std::byte> all(size * own.size());
  const auto part = [&](int rank) {
    return std::span(all).subspan(static_cast<size_t>(rank) * own.size(), own.size());
  };
  std::ranges::copy(own, part(communicator.rank()).begin());
  if (communicator.rank() != 0) {
    Request said = communicator.isend(own, 0, kGather);
    communicator.wait(said, deadline);
    Request heard = communicator.irecv(all, 0, kSpread);
    communicator.wait(heard, deadline);
    return all;
  }
  for (int rank = 1; rank < communicator.size(); ++rank) {
    Request heard = communicator.irecv(part(rank), rank, kGather);
    communicator.wait(heard, deadline);
  }
  for (int rank = 1; rank < communicator.size(); ++rank) {
    Request said = communicator.isend(all, rank, kSpread);
    communicator.wait(said, deadline);
  }
  return all;
}

std::vector<double> allgather(Communicator& communicator, std::span<const double> own,
                              Communicator::Deadline deadline) {
  const std::vector<std::byte> bytes = allgather(communicator, std::as_bytes(own), deadline);
  std::vector<double> all(bytes.size() / sizeof(double));
  std::ranges::copy(bytes, std::as_writable_bytes(std::span(all)).begin());
  return all;
}

std::string broadcast(Communicator& communicator, const std::string& said,
                      Communicator::Deadline deadline) {
  const double length[] = {static_cast<double>(said.size())};
  std::string text(static_cast<size_t>(allgather(communicator, length, deadline)[0]), '\0');
  if (communicator.rank() != 0) {
    Request heard = communicator.irecv(std::as_writable_bytes(std::span(text)), 0, kSpread);
    communicator.wait(heard, deadline);
    return text;
  }
  for (int rank = 1; rank < communicator.size(); ++rank) {
    Request spoken = communicator.isend(std::as_bytes(std::span(said)), rank, kSpread);
    communicator.wait(spoken, deadline);
  }
  return said;
}

std::string sizes_differ(const Envelope& message, Index sent, Index expected) {
  return fmt::format("{}: {} bytes are sent, {} expected", name_of(message), sent, expected);
}

std::string progress_of(const Envelope& message, Index moved, Index bytes) {
  return fmt::format("{}: {} of {} bytes have moved", name_of(message), moved, bytes);
}

std::string overdue(int rank, const Envelope& message, Index moved, Index bytes) {
  return fmt::format("rank {} waited in vain for {}", rank, progress_of(message, moved, bytes));
}

std::string left_behind(int rank, const Envelope& message) {
  return fmt::format("rank {} left while {} was under way", rank, name_of(message));
}

}  // namespace longattn

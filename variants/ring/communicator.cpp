#include "variants/ring/communicator.h"

#include <fmt/format.h>

#include <algorithm>

namespace longattn {
namespace {

std::string name_of(const Envelope& message) {
  return fmt::format("message {} from rank {} to rank {}", message.tag, message.source,
                     message.destination);
}

}  // namespace

// To rank 0, and from there to all: few bytes, so that the number of messages is what counts.
std::vector<std::byte> allgather(Communicator& communicator, std::span<const std::byte> own,
                                 Communicator::Deadline deadline) {
  constexpr int kGather = Communicator::kMaxTag - 1, kSpread = Communicator::kMaxTag;
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

std::string sizes_differ(const Envelope& message, Index sent, Index expected) {
  return fmt::format("{}: {} bytes are sent, {} expected", name_of(message), sent, expected);
}

std::string overdue(int rank, const Envelope& message, Index moved, Index bytes) {
  return fmt::format("rank {} waited in vain for {}: {} of {} bytes have moved", rank,
                     name_of(message), moved, bytes);
}

std::string left_behind(int rank, const Envelope& message) {
  return fmt::format("rank {} left while {} was under way", rank, name_of(message));
}

}  // namespace longattn

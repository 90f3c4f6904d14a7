#pragma once

#include <condition_variable>
#include <mutex>
#include <span>
#include <string>

#include "core/workspace.h"
#include "variants/ring/communicator.h"

namespace longattn {

/// What the ranks of one process share. Whoever comes second to a message copies it from the one
/// buffer to the other; nothing is buffered in between. Memory for messages under way is taken
/// once, from the workspace: nothing is allocated later.
class ThreadTeam {
 public:
  /// With room for so many messages under way at once, to or from a rank.
  ThreadTeam(int ranks, Workspace& workspace, int messages_of_rank = kMessagesOfRank);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int ranks() const { return ranks_; }
  /// That the constructor takes.
  static Index workspace_bytes(int ranks, int messages_of_rank = kMessagesOfRank);
  static constexpr int kMessagesOfRank = 4;

 private:
  friend class ThreadCommunicator;
  struct Message {
    enum class State { unused, posted, copying, complete };
    State state = State::unused;
    Envelope envelope;
    const std::byte* from = nullptr;
    std::byte* to = nullptr;
    Index sent = -1, expected = -1;  // bytes; -1: that side has not come yet
    int waiting = 0;                 // sides that have come and have not waited yet
  };

  // Side 0 sends, side 1 receives.
  Request post(int side, const std::byte* from, std::byte* to, Index bytes,
               const Envelope& envelope);
  void wait(Request& request, int rank, Communicator::Deadline deadline);
  void abort(std::string_view reason) noexcept;
  void leave(int rank);
  Message& slot_for(int side, const Envelope& envelope);
  void fail(const std::string& reason);  // called with the lock held

  const int ranks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::span<Message> messages_;
  bool failed_ = false;
  std::string reason_;
};

/// One rank of a team. Ranks may be threads, or be stepped through by one.
class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(ThreadTeam& team, int rank) : team_(team), rank_(rank) {}
  ~ThreadCommunicator() override {
    if (active_ > 0) team_.leave(rank_);
  }
  int rank() const override { return rank_; }
  int size() const override { return team_.ranks(); }
  Request isend(std::span<const std::byte> message, int destination, int tag) override;
  Request irecv(std::span<std::byte> buffer, int source, int tag) override;
  void wait(Request& request, Deadline deadline) override {
    if (!request.active()) return;
    --active_;
    team_.wait(request, rank_, deadline);
  }
  void abort(std::string_view reason) noexcept override { team_.abort(reason); }
  Index bytes_sent() const override { return bytes_sent_; }

 private:
  ThreadTeam& team_;
  const int rank_;
  Index bytes_sent_ = 0;
  int active_ = 0;  // requests
};

}  // namespace longattn

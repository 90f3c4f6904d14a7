#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "variants/ring/communicator.h"
#include "variants/ring/ring_model.h"

namespace longattn {

/// The links of a Cluster, for ranks that are threads of this process: a message takes latency +
/// bytes / bandwidth from when both its sides have been posted, as in ring_model.h; messages to one
/// rank come one after the other.
///
/// In real time threads sleep meanwhile. In simulated time nobody does: it stands while any rank is
/// running, and when all of them sleep it leaps to where the first one wakes, so that a pass takes
/// what the links and sleep_until() say and nothing else, to rounding; and where none would ever
/// wake all are told, instead of waiting for each other.
class ShapedNetwork {
 public:
  enum class Time { real, simulated };
  /// `gathered` as in link_between (ring_model.h). Slowness, jitter and rate of the cluster are no
  /// affair of links.
  ShapedNetwork(const Cluster& cluster, int ranks, bool gathered, Time time);

  double now() const;  ///< s
  /// What a rank works until then; in simulated time called by every rank's own thread alone.
  void sleep_until(int rank, double seconds);

 private:
  friend class ShapedCommunicator;
  using Clock = std::chrono::steady_clock;
  static constexpr double kNever = std::numeric_limits<double>::infinity();
  static constexpr double kRunning = -1;
  struct Message {
    Envelope envelope;
    std::array<bool, 2> posted{};       // by its sender, its receiver
    std::array<int, 2> waiter{-1, -1};  // ranks that sleep until it is there
    double there = kNever;              // when it has arrived
  };
  using Transfer = std::shared_ptr<Message>;

  // Side 0 sends, side 1 receives.
  Transfer post(int side, const Envelope& envelope, Index bytes);
  enum class End { there, late, missing, given_up };
  End await(Message& message, int side, int rank, Communicator::Deadline deadline);
  void give_up();
  void leave(int rank);

  double now_unlocked() const;
  Clock::time_point at(double seconds) const;
  void sleep(std::unique_lock<std::mutex>& lock, int rank, double until);
  void leap();

  const Cluster cluster_;
  const bool gathered_;
  const Time time_;
  const Clock::time_point begin_ = Clock::now();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Transfer> half_posted_;
  std::vector<double> busy_until_;  // of the way into each rank
  bool given_up_ = false;
  // In simulated time:
  double now_ = 0;
  std::vector<double> wakes_;  // when each rank does, or kRunning
};

/// A communicator whose messages arrive when a ShapedNetwork says so, and otherwise what it was.
class ShapedCommunicator final : public Communicator {
 public:
  /// The network outlives it. `inner` moves bytes at once, as a ThreadCommunicator does.
  ShapedCommunicator(ShapedNetwork& network, std::unique_ptr<Communicator> inner)
      : network_(network), inner_(std::move(inner)) {}
  ~ShapedCommunicator() override;
  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  Request isend(std::span<const std::byte> message, int destination, int tag) override;
  Request irecv(std::span<std::byte> buffer, int source, int tag) override;
  void wait(Request& request, Deadline deadline) override;
  void abort(std::string_view reason) noexcept override;
  Index bytes_sent() const override { return inner_->bytes_sent(); }
  std::string pending() const override { return inner_->pending(); }

 private:
  struct UnderWay {
    ShapedNetwork::Transfer transfer;
    int side;
    Index bytes;
  };
  template <class Action>
  auto or_wake_all(const Action& action);

  ShapedNetwork& network_;
  std::unique_ptr<Communicator> inner_;
  std::map<Index, UnderWay> under_way_;  // by requests of inner_
};

}  // namespace longattn

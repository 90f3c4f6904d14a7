#include "variants/ring/thread_communicator.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

namespace longattn {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<std::byte> bytes(std::string_view text) {
  std::vector<std::byte> result(text.size());
  std::memcpy(result.data(), text.data(), text.size());
  return result;
}

Communicator::Deadline soon() { return Clock::now() + std::chrono::milliseconds(20); }
Communicator::Deadline later() { return Clock::now() + std::chrono::seconds(60); }

struct Team {
  explicit Team(int ranks) : team(ranks, workspace) {
    EXPECT_EQ(workspace.bytes(), ThreadTeam::workspace_bytes(ranks));
    for (int rank = 0; rank < ranks; ++rank) {
      communicators.push_back(std::make_unique<ThreadCommunicator>(team, rank));
    }
  }
  Communicator& operator[](int rank) { return *communicators[static_cast<size_t>(rank)]; }

  Workspace workspace;
  ThreadTeam team;
  std::vector<std::unique_ptr<ThreadCommunicator>> communicators;
};

template <class Body>
std::string error_of(Body body) {
  try {
    body();
  } catch (const CommunicatorError& error) {
    return error.what();
  }
  return "no error";
}

TEST(ThreadCommunicator, MatchesMessagesByRanksAndTagWhoeverComesFirst) {
  Team team(3);
  const auto one = bytes("one"), two = bytes("two"), three = bytes("tre");
  auto first = bytes("..."), second = first, own = first;
  Request sends[] = {team[0].isend(one, 2, 7), team[0].isend(two, 2, 8), {}};
  Request second_receive = team[2].irecv(second, 0, 8), first_receive = team[2].irecv(first, 0, 7);
  Request own_receive = team[1].irecv(own, 1, 7);
  sends[2] = team[1].isend(three, 1, 7);
  for (Request* request :
       {&sends[0], &sends[1], &sends[2], &second_receive, &first_receive, &own_receive}) {
    ASSERT_TRUE(request->active());
    team[0].wait(*request, later());
    EXPECT_FALSE(request->active());
    team[0].wait(*request, later());  // complete already
  }
  EXPECT_EQ(first, one);
  EXPECT_EQ(second, two);
  EXPECT_EQ(own, three);
  EXPECT_EQ(team[0].bytes_sent(), 6);
  EXPECT_EQ(team[2].bytes_sent(), 0);
}

TEST(ThreadCommunicator, PassesEmptyMessagesAndReusesTheirPlaces) {
  Team team(2);
  for (int round = 0; round < 100; ++round) {
    Request send = team[0].isend({}, 1, 0), receive = team[1].irecv({}, 0, 0);
    team[0].wait(send, later());
    team[1].wait(receive, later());
  }
  EXPECT_EQ(team[0].bytes_sent(), 0);
}

// Rendezvous: a program that only works because sends are buffered must fail here.
TEST(ThreadCommunicator, DoesNotCompleteASendBeforeItsReceiveIsPosted) {
  Team team(2);
  const auto message = bytes("message");
  Request send = team[0].isend(message, 1, 5);
  EXPECT_EQ(error_of([&] { team[0].wait(send, soon()); }),
            "rank 0 waited in vain for message 5 from rank 0 to rank 1: 0 of 7 bytes have moved");
  // And from then on nothing is possible, for anyone.
  EXPECT_EQ(error_of([&] { team[1].isend(message, 0, 6); }),
            "rank 0 waited in vain for message 5 from rank 0 to rank 1: 0 of 7 bytes have moved");
}

TEST(ThreadCommunicator, RefusesSizesThatDifferOnBothSides) {
  Team team(2);
  const auto message = bytes("message");
  auto room = bytes("...");
  Request send = team[0].isend(message, 1, 5);
  const std::string reason = "message 5 from rank 0 to rank 1: 7 bytes are sent, 3 expected";
  EXPECT_EQ(error_of([&] { team[1].irecv(room, 0, 5); }), reason);
  EXPECT_EQ(error_of([&] { team[0].wait(send, later()); }), reason);
}

TEST(ThreadCommunicator, WakesEveryWaitingRankWhenOneGivesUp) {
  Team team(3);
  std::vector<std::string> reasons(2);
  {
    std::vector<std::jthread> ranks;
    for (int rank : {0, 1}) {
      ranks.emplace_back([&, rank] {
        std::vector<std::byte> room(4);
        reasons[static_cast<size_t>(rank)] = error_of([&] {
          Request receive = team[rank].irecv(room, 2, 0);
          team[rank].wait(receive, later());
        });
      });
    }
    team[2].abort("rank 2 has no memory");
  }
  for (const std::string& reason : reasons) EXPECT_EQ(reason, "rank 2 has no memory");
}

TEST(ThreadCommunicator, CarriesAnyNumberOfMessagesRoundARingOfThreads) {
  constexpr int kRanks = 5, kRounds = 200;
  Team team(kRanks);
  std::vector<std::uint32_t> last(kRanks);
  {
    std::vector<std::jthread> ranks;
    for (int rank = 0; rank < kRanks; ++rank) {
      ranks.emplace_back([&, rank] {
        std::vector<std::uint32_t> held(1000, static_cast<std::uint32_t>(rank)), next(1000);
        for (int round = 0; round < kRounds; ++round) {
          Request receive = team[rank].irecv(std::as_writable_bytes(std::span(next)),
                                             (rank + kRanks - 1) % kRanks, round);
          Request send =
              team[rank].isend(std::as_bytes(std::span(held)), (rank + 1) % kRanks, round);
          team[rank].wait(receive, later());
          team[rank].wait(send, later());
          held.swap(next);
        }
        last[static_cast<size_t>(rank)] = held[999];
      });
    }
  }
  for (int rank = 0; rank < kRanks; ++rank) {
    EXPECT_EQ(last[static_cast<size_t>(rank)], rank);  // 200 hops are 40 times round
    EXPECT_EQ(team[rank].bytes_sent(), kRounds * 4000);
  }
}

}  // namespace
}  // namespace longattn

#include "tests/variants/communicator_scenarios.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "core/tolerance.h"
#include "tests/test_tensors.h"
#include "variants/blockwise.h"
#include "variants/ring/handshake.h"
#include "variants/ring/ring.h"
#include "variants/ring/ring_pass.h"

namespace longattn {
namespace {

using Pointer = std::unique_ptr<Communicator>;
using Bytes = std::vector<std::byte>;

Communicator::Deadline soon() { return in_seconds(0.2); }
Communicator::Deadline late() { return in_seconds(60); }

void require(bool holds, const std::string& what) {
  if (!holds) throw std::logic_error(what);
}

template <class Function>
void must_fail(const Function& function, const std::string& expected) {
  try {
    function();
  } catch (const CommunicatorError& e) {
    require(e.what() == expected, fmt::format("failed with '{}', not '{}'", e.what(), expected));
    return;
  }
  throw std::logic_error("did not fail with: " + expected);
}

void wait(Communicator& c, Request request) { c.wait(request, late()); }

Bytes pattern(Index bytes, int seed) {
  Bytes all(static_cast<size_t>(bytes));
  for (size_t n = 0; n < all.size(); ++n) {
    all[n] = static_cast<std::byte>((n * 131 + n / 251 + static_cast<size_t>(seed) * 17) & 255);
  }
  return all;
}

// Around the pieces of 1000 bytes, to the neighbour; one rank is its own, of two each is the
// other's on both sides.
void passes_round(Pointer& c) {
  const int next = (c->rank() + 1) % c->size(), previous = (c->rank() + c->size() - 1) % c->size();
  Index sent = 0;
  for (const Index bytes : {0, 1, 999, 1000, 1001, 2000, 123457}) {
    const Bytes own = pattern(bytes, c->rank());
    Bytes other(own.size());
    const Request receiving = c->irecv(other, previous, 7);
    const Request sending = c->isend(own, next, 7);
    wait(*c, receiving);
    wait(*c, sending);
    sent += bytes;
    require(other == pattern(bytes, previous), fmt::format("{} bytes came as others", bytes));
    require(c->bytes_sent() == sent, "bytes_sent");
  }
  Request none;
  c->wait(none, soon());
}

void gathers_from_all(Pointer& c) {
  for (int n = 0; n < 20; ++n) {
    const Bytes own = pattern(33, c->rank() + n);
    const Bytes all = allgather(*c, own, late());
    require(all.size() == 33 * static_cast<size_t>(c->size()), "size");
    for (int rank = 0; rank < c->size(); ++rank) {
      const Bytes expected = pattern(33, rank + n);
      require(std::equal(expected.begin(), expected.end(), all.begin() + 33 * rank), "bytes");
    }
  }
}

void matches_by_tag(Pointer& c) {
  const std::array<int, 3> sends = {5, 3, 4}, receives = {3, 4, 5}, waits = {4, 5, 3};
  std::array<Bytes, 6> buffers;
  std::array<Request, 6> requests;
  for (const int tag : c->rank() == 0 ? sends : receives) {
    Bytes& buffer = buffers[static_cast<size_t>(tag)];
    buffer = pattern(700 * tag, c->rank() == 0 ? tag : 0);
    requests[static_cast<size_t>(tag)] =
        c->rank() == 0 ? c->isend(buffer, 1, tag) : c->irecv(buffer, 0, tag);
  }
  for (const int tag : waits) {
    c->wait(requests[static_cast<size_t>(tag)], late());
    require(!requests[static_cast<size_t>(tag)].active(), "waited for and active");
    require(buffers[static_cast<size_t>(tag)] == pattern(700 * tag, tag), "bytes");
  }
}

// More bytes than an int counts, without as much memory: one stretch of 64 MiB again and again.
void takes_more_than_two_gib(Pointer& c) {
  constexpr size_t kStretch = size_t{64} << 20, kCount = 33, kAll = kStretch * kCount - 12345;
  const int file = memfd_create("longattn-test", MFD_CLOEXEC);
  require(file >= 0 && ftruncate(file, kStretch) == 0, "no memory to share");
  auto* data = static_cast<std::byte*>(mmap(nullptr, kStretch * kCount, PROT_READ | PROT_WRITE,
                                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  for (size_t n = 0; n < kCount; ++n) {
    void* at = mmap(data + n * kStretch, kStretch, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                    file, 0);
    require(at != MAP_FAILED, "no address space");
  }
  close(file);
  if (c->rank() == 0) {
    for (size_t n = 0; n < kStretch; n += 4096) data[n] = static_cast<std::byte>(n >> 12 & 255);
    wait(*c, c->isend({data, kAll}, 1, 0));
    require(c->bytes_sent() == static_cast<Index>(kAll), "bytes_sent");
  } else {
    wait(*c, c->irecv({data, kAll}, 0, 0));
    for (size_t n = 0; n < kStretch; n += 4096) {
      require(data[n] == static_cast<std::byte>(n >> 12 & 255), "bytes");
    }
  }
  munmap(data, kStretch * kCount);
}

template <int sent, int expected>
void compares_sizes(Pointer& c) {
  const std::string sentence = fmt::format(
      "message 2 from rank 0 to rank 1: {} bytes are sent, {} expected", sent, expected);
  Bytes buffer(static_cast<size_t>(c->rank() == 0 ? sent : expected));
  must_fail(
      [&] {
        if (c->rank() == 0) wait(*c, c->isend(buffer, 1, 2));
        if (c->rank() == 1) wait(*c, c->irecv(buffer, 0, 2));
        if (c->rank() == 2) wait(*c, c->irecv(buffer, 1, 9));  // has no part in it
      },
      sentence);
  must_fail([&] { c->irecv(buffer, 0, 3); }, sentence);
}

// Rank 1 posts nothing; nor may what rank 0 sends be complete before it does.
void gives_up_at_the_deadline(Pointer& c) {
  const std::string sentence =
      "rank 0 waited in vain for message 4 from rank 0 to rank 1: 0 of 8 bytes have moved";
  Bytes buffer(8);
  must_fail(
      [&] {
        Request request = c->rank() == 0 ? c->isend(buffer, 1, 4) : c->irecv(buffer, 0, 5);
        c->wait(request, c->rank() == 0 ? soon() : late());
      },
      sentence);
  must_fail([&] { c->isend(buffer, 0, 3); }, sentence);
}

void tells_all_why_one_aborts(Pointer& c) {
  Bytes buffer(8);
  if (c->rank() == 2) {
    c->abort("rank 2: the reason");
    c->abort("a second reason");
  } else {
    must_fail([&] { wait(*c, c->irecv(buffer, 2, 0)); }, "rank 2: the reason");
  }
  must_fail([&] { c->irecv(buffer, 0, 3); }, "rank 2: the reason");
}

void misses_who_leaves(Pointer& c) {
  Bytes buffer(5000);
  if (c->rank() == 1) {
    c->irecv(buffer, 0, 6);
    c.reset();
  } else {
    must_fail([&] { wait(*c, c->irecv(buffer, 1, 7)); },
              "rank 1 left while message 6 from rank 0 to rank 1 was under way");
  }
}

Problem problem(Index queries, Index keys, bool causal) {
  Problem p;
  p.num_heads = 4;
  p.num_kv_heads = 2;
  p.query_len = queries;
  p.key_len = keys;
  p.head_dim = 8;
  p.value_dim = 6;
  p.mask.causal = causal;
  return p;
}

// Lengths that divide nothing, fewer tokens than ranks, every mask.
std::vector<Problem> problems() {
  std::vector<Problem> all;
  for (const bool causal : {false, true}) {
    for (const Index len : {1, 2, 97}) all.push_back(problem(len, len, causal));
    all.push_back(problem(41, 89, causal));
    all.push_back(problem(103, 61, causal));
    Problem p = problem(61, 73, causal);
    p.batch = 2;
    p.mask.key_lengths = {73, 31};
    p.mask.alibi_slopes = {0, 0.1, 0.3, 1};
    for (Index n = 0; n < 146; ++n) p.mask.document_ids.push_back(n / 13 % 4);
    all.push_back(p);
  }
  return all;
}

// Before the first message, with the same words everywhere, whichever rank is the other one.
template <int other>
void refuses_ranks_that_differ(Pointer& c) {
  Problem p = problem(61, 61, true);
  const RingPlan plan(p, RingLayout::zigzag, c->size());
  handshake(*c, facts_of(plan, p), late());
  if (c->rank() == other) p.head_dim = 16;
  must_fail([&] { handshake(*c, facts_of(RingPlan(p, RingLayout::zigzag, c->size()), p), late()); },
            other == 0 ? "ranks differ: head_dim is 16 at rank 0 and 8 at rank 1, 2"
                       : "ranks differ: head_dim is 16 at rank 2 and 8 at rank 0, 1");
  Facts facts = {{"alike", "yes"}};
  if (c->rank() == other) facts.push_back({"more", "here"});
  must_fail([&] { handshake(*c, facts, late()); },
            other == 0 ? "ranks differ: more is here at rank 0 and unknown at rank 1, 2"
                       : "ranks differ: more is here at rank 2 and unknown at rank 0, 1");
}

void hears_rank_0(Pointer& c) {
  for (const std::string& said : {std::string(), std::string("word"), std::string(70000, 'x')}) {
    require(broadcast(*c, c->rank() == 0 ? said : "not this", late()) == said, "heard else");
  }
}

// Rank 0 gets what each rank has written, in one tensor.
void collect(Communicator& c, const RingPlan& plan, const Tensor& own, Tensor& whole) {
  if (c.rank() != 0) {
    wait(c, c.isend({own.bytes_begin(), static_cast<size_t>(own.bytes())}, 0, 300));
    return;
  }
  for (int rank = 0; rank < c.size(); ++rank) {
    const Shard& shard = plan.queries(rank);
    const auto [batch, heads, len, dim] = whole.shape();
    Tensor part({batch, heads, shard.size(), dim});
    if (rank == 0) {
      std::copy_n(own.floats(), own.size(), part.floats());
    } else {
      wait(c, c.irecv({part.bytes_begin(), static_cast<size_t>(part.bytes())}, rank, 300));
    }
    for (Index b = 0; b < batch; ++b) {
      for (Index h = 0; h < heads; ++h) {
        for (Index n = 0; n < shard.size(); ++n) {
          std::copy_n(part.view().float_row(b, h, n), dim,
                      whole.floats() + ((b * heads + h) * len + shard[n]) * dim);
        }
      }
    }
  }
}

// |ring - blockwise| within what rounding may do to either.
void require_blockwise(const Attention& ring, const ProblemTensors& t, const Tensor& found) {
  const Problem& p = ring.problem();
  const auto blockwise = make_attention(kBlockwise, p, Options(kBlockwise.options));
  Tensor expected(found.shape());
  Context context(1);
  blockwise->forward(t.inputs(), {expected.mutable_view(), {}}, context);
  std::vector<Index> queries(static_cast<size_t>(p.query_len));
  std::iota(queries.begin(), queries.end(), Index{0});
  for (Index b = 0; b < p.batch; ++b) {
    for (Index h = 0; h < p.num_heads; ++h) {
      const auto definition = blockwise->definition(t.inputs(), b, h);
      const Eigen::MatrixXd tolerance =
          expected_rows(ring, t.inputs(), *definition, b, h, queries).tolerance +
          expected_rows(*blockwise, t.inputs(), *definition, b, h, queries).tolerance;
      for (Index i = 0; i < p.query_len; ++i) {
        for (Index n = 0; n < p.value_dim; ++n) {
          const double difference = static_cast<double>(found.view().float_row(b, h, i)[n]) -
                                    static_cast<double>(expected.view().float_row(b, h, i)[n]);
          require(std::abs(difference) <= tolerance(i, n), "differs from blockwise");
        }
      }
    }
  }
}

using OptionTexts = std::vector<std::pair<std::string, std::string>>;

// Every layout, and of the other options each alone and all together.
std::vector<OptionTexts> settings() {
  std::vector<OptionTexts> all;
  for (const char* layout : {"contiguous", "zigzag", "striped", "auto"}) {
    all.push_back({{"layout", layout}});
  }
  for (const auto& [name, text] : {std::pair("exchange", "all_gather"),
                                   {"exchange", "ring"},
                                   {"window", "9"},
                                   {"wire", "bfloat16"},
                                   {"transport", "mpi"}}) {
    all.push_back({{name, text}});
  }
  all.push_back({{"exchange", "all_gather"}, {"window", "9"}, {"wire", "bfloat16"}});
  all.push_back({{"layout", "striped"}, {"window", "9"}, {"wire", "bfloat16"}});
  return all;
}

void equals_blockwise(Pointer& c) {
  for (const Problem& p : problems()) {
    ProblemTensors t(p, 1, 3);
    for (OptionTexts texts : settings()) {
      texts.emplace_back("ranks", std::to_string(c->size()));
      const Options options(kRing.options, texts);
      const RingPlan plan = ring_plan(p, options);
      Context context(1);
      RingRank rank(plan, p, *c, context.workspace());
      const Index before = c->bytes_sent();
      for (int repetition = 0; repetition < 2; ++repetition) {  // nothing of a pass is left behind
        rank.load(t.inputs());
        ring_pass(rank, plan, context);
      }
      require(c->bytes_sent() - before == 2 * plan.bytes_sent(c->rank()), "not the plan's bytes");
      Tensor own({p.batch, p.num_heads, plan.queries(c->rank()).size(), p.value_dim});
      rank.store_own({own.mutable_view(), {}});
      Tensor found(t.output.shape());
      collect(*c, plan, own, found);
      if (c->rank() != 0) continue;
      const auto ring = std::unique_ptr<const Attention>(kRing.make(p, options));
      ring->forward(t.inputs(), t.output_alone(), context);
      require(std::equal(found.floats(), found.floats() + found.size(), t.output.floats()),
              "other bits than in one process");
      if (kRing.traits(p, options).exact) require_blockwise(*ring, t, found);
    }
  }
}

constexpr CommunicatorScenario kScenarios[] = {
    {"PassesRoundOneRank", 1, passes_round},
    {"PassesRoundTwoRanks", 2, passes_round},
    {"PassesRoundFiveRanks", 5, passes_round},
    {"GathersFromAll", 4, gathers_from_all},
    {"HearsRankZero", 3, hears_rank_0},
    {"RefusesRanksThatDifferFromRankZero", 3, refuses_ranks_that_differ<2>},
    {"RefusesRanksThatDifferFromAllButRankZero", 3, refuses_ranks_that_differ<0>},
    {"MatchesByTag", 2, matches_by_tag},
    {"TakesMoreThanTwoGiB", 2, takes_more_than_two_gib, Index{64} << 20},
    {"FailsOnAMessageThatIsTooShort", 3, compares_sizes<8, 12>},
    {"FailsOnAMessageThatIsTooLong", 3, compares_sizes<5000, 8>},
    {"GivesUpAtTheDeadline", 3, gives_up_at_the_deadline},
    {"TellsAllWhyOneAborts", 3, tells_all_why_one_aborts},
    {"MissesWhoLeavesAMessageUnderWay", 2, misses_who_leaves},
    {"RingOfOneEqualsBlockwise", 1, equals_blockwise},
    {"RingOfTwoEqualsBlockwise", 2, equals_blockwise},
    {"RingOfThreeEqualsBlockwise", 3, equals_blockwise},
    {"RingOfFourEqualsBlockwise", 4, equals_blockwise},
    {"RingOfFiveEqualsBlockwise", 5, equals_blockwise},
};

}  // namespace

std::span<const CommunicatorScenario> communicator_scenarios() { return kScenarios; }

}  // namespace longattn

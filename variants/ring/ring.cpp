#include "variants/ring/ring.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <stdexcept>

#include "core/blocked_attention.h"
#include "core/kernels.h"
#include "core/softmax_definition.h"
#include "variants/ring/mpi_communicator.h"
#include "variants/ring/ring_rank.h"
#include "variants/ring/ring_schedule.h"
#include "variants/ring/thread_communicator.h"

namespace longattn {
namespace {

// Messages of one process never wait for anyone else; this only bounds what should not happen.
constexpr std::chrono::seconds kPatience{60};

// Objects in memory of the workspace, destroyed at the end of their scope.
template <class T>
class Placed {
 public:
  Placed(Workspace& workspace, int count) : objects_(workspace.take<T>(count)) {}
  ~Placed() { std::destroy_n(objects_.data(), made_); }
  Placed(const Placed&) = delete;
  Placed& operator=(const Placed&) = delete;

  template <class... Arguments>
  void add(Arguments&&... arguments) {
    std::construct_at(&objects_[made_], std::forward<Arguments>(arguments)...);
    ++made_;
  }
  T& operator[](Index n) { return objects_[static_cast<size_t>(n)]; }

 private:
  std::span<T> objects_;
  size_t made_ = 0;
};

// What figures() tells of a rank is what it does, in every forward.
void require_planned(int rank, const char* what, Index counted, Index planned) {
  if (counted == planned) return;
  throw std::logic_error(
      fmt::format("ring: rank {} {} {} bytes, its plan says {}", rank, what, counted, planned));
}

class Ring final : public Attention {
 public:
  Ring(const Problem& p, const Options& options)
      : Attention(p),
        plan_(ring_plan(p, options)),
        processes_(process_count(kRing.name, options) > 0) {}

  std::unique_ptr<Definition> definition(const Inputs& inputs, Index b, Index head) const override {
    return softmax_definition(problem(), inputs, b, head);
  }

  Cost cost(int threads) const override {
    const Problem& p = problem();
    const int ranks = plan_.ranks();
    Cost cost;
    Index engine = 0, engines = 0, held = 0, sent = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      Index own = 0;
      held += plan_.memory_bytes(rank);
      sent += plan_.bytes_sent(rank);
      for (int origin = 0; origin < ranks; ++origin) {
        if (plan_.pairs(rank, origin) == 0) continue;
        cost.scored_pairs += plan_.pairs(rank, origin);
        const Shard &queries = plan_.queries(rank), &keys = plan_.keys(origin);
        own = std::max(own, blocked_workspace_bytes(RingSchedule::local_problem(p, queries, keys),
                                                    RingSchedule(p, queries, keys), threads));
      }
      engine = std::max(engine, own);
      engines += own;
    }
    cost.flops = 2 * cost.scored_pairs * static_cast<double>(p.head_dim + p.value_dim);
    cost.bytes_moved = least_traffic(p) + 2 * static_cast<double>(sent);
    const Index together = engine + ThreadTeam::workspace_bytes(ranks) +
                           Workspace::bytes_for<ThreadCommunicator>(ranks) +
                           Workspace::bytes_for<RingRank>(ranks);
    cost.workspace_bytes =
        static_cast<double>(held + (processes_ ? std::max(engines, together) : together));
    return cost;
  }

  std::vector<PlanFigure> figures() const override {
    PlanFigure memory{"rank_memory_bytes", {}}, sent{"rank_sent_bytes", {}};
    for (int rank = 0; rank < plan_.ranks(); ++rank) {
      memory.values.push_back(static_cast<double>(plan_.memory_bytes(rank)));
      sent.values.push_back(static_cast<double>(plan_.bytes_sent(rank)));
    }
    return {memory, sent, {"balance", {plan_.balance()}}};
  }

  Rounding rounding() const override {
    // As in one pass of the engine, but every shard of keys begins a tile of its own.
    const Problem& p = problem();
    const Index step = kernels::round_up(
        std::min(default_key_block(p), std::max<Index>(p.key_len, 1)), kernels::kPanel);
    Index tiles = 1;
    for (int rank = 0; rank < plan_.ranks(); ++rank) {
      const Index keys = plan_.keys(rank).size();
      tiles += (keys + step - 1) / step;
    }
    Rounding rounding = blocked_rounding(p, default_key_block(p));
    rounding.sum_roundings =
        static_cast<double>(std::min(p.key_len, step + tiles)) + 6 * static_cast<double>(tiles) + 8;
    return rounding;
  }

 private:
  // All ranks in step: what each does between two messages is what a rank of its own does.
  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context& context) const override {
    Workspace& workspace = context.workspace();
    const Workspace::Scope scope(workspace);
    const int count = plan_.ranks();
    ThreadTeam team(count, workspace);
    Placed<ThreadCommunicator> communicators(workspace, count);
    Placed<RingRank> ranks(workspace, count);
    for (int rank = 0; rank < count; ++rank) {
      communicators.add(team, rank);
      const Index before = workspace.bytes();
      ranks.add(plan_, problem(), communicators[rank], workspace);
      require_planned(rank, "holds", workspace.bytes() - before, plan_.memory_bytes(rank));
    }
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    context.arena().for_each(count, [&](Index rank, int) { ranks[rank].load(inputs); });
    for (int step = 0; step < count; ++step) {
      context.arena().for_each(count, [&](Index rank, int) { ranks[rank].post(step); });
      for (int rank = 0; rank < count; ++rank) ranks[rank].compute(step, context);
      for (int rank = 0; rank < count; ++rank) ranks[rank].complete(step, deadline);
    }
    context.arena().for_each(count, [&](Index rank, int) { ranks[rank].store(outputs); });
    for (int rank = 0; rank < count; ++rank) {
      require_planned(rank, "sent", communicators[rank].bytes_sent(), plan_.bytes_sent(rank));
    }
  }

  const RingPlan plan_;
  const bool processes_;  // each rank is one, with tiles of its own
};

}  // namespace

RingPlan ring_plan(const Problem& problem, const Options& options) {
  const auto ranks = static_cast<int>(options.integer("ranks"));
  if (options.is_automatic("layout")) {
    return RingPlan(problem, RingPlan::best_layout(problem, ranks), ranks);
  }
  for (RingLayout layout : {RingLayout::zigzag, RingLayout::striped}) {
    if (options.text("layout") == to_string(layout)) return RingPlan(problem, layout, ranks);
  }
  return RingPlan(problem, RingLayout::contiguous, ranks);
}

int process_count(std::string_view variant, const Options& options) {
  if (variant != kRing.name || options.text("transport") != "mpi") return 0;
  return static_cast<int>(options.integer("ranks"));
}

const Variant kRing = {
    .name = "ring",
    .summary = "exact; ranks hold shards of the sequence, keys and values travel round them",
    .paper =
        "Liu, Zaharia & Abbeel 2023, Ring Attention with Blockwise Transformers; Brandon et al. "
        "2023, Striped Attention",
    .options = {{.name = "ranks",
                 .type = OptionType::integer,
                 .default_value = Index{4},
                 .doc = "that share the sequence",
                 .minimum = 1,
                 .maximum = 256},
                {.name = "layout",
                 .type = OptionType::choice,
                 .default_value = Automatic{},
                 .doc = "which tokens a rank holds; auto: what balances the mask best",
                 .choices = {"contiguous", "zigzag", "striped"},
                 .may_be_auto = true},
                {.name = "transport",
                 .type = OptionType::choice,
                 .default_value = std::string("thread"),
                 .doc = "thread: all ranks in one process; mpi: `run` starts a process for each",
                 .choices = {"thread", "mpi"}}},
    .extra = {},
    .unsupported = [](const Problem&, const Options& options) -> std::string {
      if (options.text("transport") == "thread" || !mpi_library().empty()) return "";
      return "built without MPI; install libopenmpi-dev and openmpi-bin, and build again";
    },
    .traits = [](const Problem&, const Options&) { return Traits{.exact = true}; },
    .growth = [](const Options&) { return Growth{.time = 2, .memory = 1}; },
    .make = [](const Problem& problem, const Options& options) -> std::unique_ptr<const Attention> {
      return std::make_unique<Ring>(problem, options);
    },
};

}  // namespace longattn

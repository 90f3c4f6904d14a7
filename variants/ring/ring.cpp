#include "variants/ring/ring.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <vector>

#include "core/blocked_attention.h"
#include "core/kernels.h"
#include "core/softmax_definition.h"
#include "variants/ring/mpi_communicator.h"
#include "variants/ring/ring_model.h"
#include "variants/ring/ring_rank.h"
#include "variants/ring/ring_schedule.h"
#include "variants/ring/thread_communicator.h"

namespace longattn {
namespace {

// Gathering must save a tenth of the time by the model, and take no more than this of a rank's
// memory.
constexpr double kGain = 0.9;
const Cluster kAssumed = {.rate = 5e10, .network = {.latency = 50e-6, .bandwidth = 1e9}};
constexpr Index kMemoryOfGathered = Index{64} << 20;

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

KeyPredicate keys_within(const Problem& p, const RingPlan& plan) {
  if (!plan.settings().window) return {};
  return [offset = p.position(0), window = *plan.settings().window](Index query, Index key) {
    return std::abs(query + offset - key) <= window;
  };
}

// The rows of a softmax over keys as they arrive.
class DefinitionOfRoundedKeys final : public Definition {
 public:
  DefinitionOfRoundedKeys(const Problem& p, const Inputs& inputs, Index b, Index head,
                          const RingPlan& plan)
      : keys_({1, 1, p.key_len, p.head_dim}) {
    const auto dim = static_cast<size_t>(p.head_dim);
    std::vector<std::byte> stored(dim * static_cast<size_t>(byte_size(plan.wire())));
    for (Index key = 0; key < p.key_len; ++key) {
      store_floats(plan.wire(), inputs.keys.float_row(b, p.kv_head(head), key), p.head_dim,
                   stored.data());
      load_floats(plan.wire(), stored.data(), p.head_dim, keys_.floats() + key * p.head_dim);
    }
    Inputs rounded = inputs;
    rounded.keys = {keys_.floats(), DType::float32, inputs.keys.shape, {0, 0, p.head_dim}};
    definition_ = softmax_definition(p, rounded, b, head, keys_within(p, plan));
  }
  Rows rows(std::span<const Index> queries) const override { return definition_->rows(queries); }

 private:
  Tensor keys_;
  std::unique_ptr<Definition> definition_;
};

class Ring final : public Attention {
 public:
  Ring(const Problem& p, const Options& options)
      : Attention(p),
        plan_(ring_plan(p, options)),
        processes_(process_count(kRing.name, options) > 0) {}

  std::unique_ptr<Definition> definition(const Inputs& inputs, Index b, Index head) const override {
    if (plan_.rounds()) {
      return std::make_unique<DefinitionOfRoundedKeys>(problem(), inputs, b, head, plan_);
    }
    return softmax_definition(problem(), inputs, b, head, keys_within(problem(), plan_));
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
        own = std::max(own, blocked_workspace_bytes(
                                RingSchedule::local_problem(p, queries, keys),
                                RingSchedule(p, queries, keys, plan_.settings().window), threads));
      }
      engine = std::max(engine, own);
      engines += own;
    }
    cost.flops = 2 * cost.scored_pairs * static_cast<double>(p.head_dim + p.value_dim);
    cost.bytes_moved = least_traffic(p) + 2 * static_cast<double>(sent);
    const Index together = engine + ThreadTeam::workspace_bytes(ranks, messages_of_rank()) +
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
    return {memory,
            sent,
            {"balance", {plan_.balance()}},
            {"all_gather", {plan_.settings().all_gather ? 1.0 : 0.0}}};
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
    // A value that is rounded on its way is as good as a probability that is.
    if (plan_.rounds()) rounding.probability_rounding += 0x1p-9;
    return rounding;
  }

 private:
  // All blocks at once, to and from every rank, if they are gathered.
  int messages_of_rank() const {
    return plan_.settings().all_gather ? std::max(plan_.ranks(), 1) : ThreadTeam::kMessagesOfRank;
  }

  // All ranks in step: what each does between two messages is what a rank of its own does.
  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context& context) const override {
    Workspace& workspace = context.workspace();
    const Workspace::Scope scope(workspace);
    const int count = plan_.ranks();
    ThreadTeam team(count, workspace, messages_of_rank());
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
  // In one process there is no latency to save.
  const bool may_gather = options.text("transport") == "mpi";
  return ring_plan(problem, options, may_gather ? kAssumed : Cluster{}, ranks);
}

RingPlan ring_plan(const Problem& problem, const Options& options, const Cluster& cluster,
                   int ranks, int depth) {
  RingSettings settings;
  settings.depth = depth;
  if (!options.is_automatic("window")) settings.window = options.integer("window");
  if (!options.is_automatic("wire")) settings.wire = dtype_from_string(options.text("wire"));
  RingLayout layout = RingLayout::contiguous;
  if (options.is_automatic("layout")) layout = RingPlan::best_layout(problem, ranks, settings);
  for (RingLayout named : {RingLayout::zigzag, RingLayout::striped}) {
    if (!options.is_automatic("layout") && options.text("layout") == to_string(named)) {
      layout = named;
    }
  }
  settings.all_gather = !options.is_automatic("exchange") && options.text("exchange") != "ring";
  RingPlan plan(problem, layout, ranks, settings);
  const bool open = options.is_automatic("exchange") && cluster.rate > 0;
  if (!open || ranks < 2 || ranks > kMostGathered) return plan;
  settings.all_gather = true;
  RingPlan gathered(problem, layout, ranks, settings);
  Index memory = 0;
  for (int rank = 0; rank < ranks; ++rank) memory = std::max(memory, gathered.memory_bytes(rank));
  if (memory > kMemoryOfGathered) return plan;
  const bool pays = forecast(gathered, cluster).total < kGain * forecast(plan, cluster).total;
  return pays ? gathered : plan;
}

namespace {

bool rounds(const Problem& p, const Options& options) {
  return !options.is_automatic("wire") && dtype_from_string(options.text("wire")) != p.dtype;
}

std::string unsupported_wire(const Problem& p, const Options& options) {
  if (!rounds(p, options) || p.dtype == DType::float32) return "";
  return fmt::format("wire {} for tensors of {}: only those of float32 travel in another type",
                     options.text("wire"), to_string(p.dtype));
}

}  // namespace

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
                 .choices = {"thread", "mpi"}},
                {.name = "window",
                 .type = OptionType::integer,
                 .default_value = Automatic{},
                 .doc = "keys that a query sees on either side; auto: all",
                 .minimum = 0,
                 .nested = true,
                 .may_be_auto = true},
                {.name = "wire",
                 .type = OptionType::choice,
                 .default_value = Automatic{},
                 .doc = "storage of keys and values on their way; auto: as they are stored",
                 .choices = {"float32", "bfloat16"},
                 .may_be_auto = true},
                {.name = "exchange",
                 .type = OptionType::choice,
                 .default_value = Automatic{},
                 .doc =
                     "ring: block by block; all_gather: all at once; auto: what should be faster",
                 .choices = {"ring", "all_gather"},
                 .may_be_auto = true}},
    .extra = {},
    .unsupported = [](const Problem& p, const Options& options) -> std::string {
      if (const std::string reason = unsupported_wire(p, options); !reason.empty()) return reason;
      if (!options.is_automatic("exchange") && options.text("exchange") == "all_gather" &&
          options.integer("ranks") > kMostGathered) {
        return fmt::format("all_gather is for at most {} ranks", kMostGathered);
      }
      if (options.text("transport") == "thread" || !mpi_library().empty()) return "";
      return "built without MPI; install libopenmpi-dev and openmpi-bin, and build again";
    },
    .traits =
        [](const Problem& p, const Options& options) {
          const bool whole = options.is_automatic("window");
          return Traits{
              .rows = rounds(p, options) ? Traits::Rows::stochastic : Traits::Rows::restricted,
              .exact = whole && !rounds(p, options)};
        },
    .growth =
        [](const Options& options) {
          return Growth{.time = options.is_automatic("window") ? 2.0 : 1.0, .memory = 1};
        },
    .make = [](const Problem& problem, const Options& options) -> std::unique_ptr<const Attention> {
      return std::make_unique<Ring>(problem, options);
    },
};

}  // namespace longattn

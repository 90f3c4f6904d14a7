#include "experiments/measure/rank_passes.h"

#include <fmt/format.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "core/io/file.h"
#include "experiments/inputs/generators.h"
#include "experiments/judge/shards.h"
#include "experiments/judge/statistics.h"
#include "experiments/measure/guarded_output.h"
#include "experiments/measure/memory.h"
#include "experiments/measure/rank_calibration.h"
#include "experiments/measure/spent.h"
#include "experiments/provenance.h"
#include "experiments/serialize.h"
#include "variants/ring/handshake.h"
#include "variants/ring/mpi_communicator.h"
#include "variants/ring/ring.h"
#include "variants/ring/ring_pass.h"

namespace longattn {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

// One rank's part of a cell.
class Rank {
 public:
  Rank(const WorkerRequest& request, const Variant& variant, Communicator& communicator,
       std::atomic<int>& at_step)
      : request_(request),
        variant_(variant),
        options_(variant.options, request.cell.options),
        attention_(make_attention(variant, request.cell.problem, options_)),
        p_(attention_->problem()),
        communicator_(communicator),
        at_step_(at_step),
        // The run ends the whole cell at its limit; a rank that misses another says so before.
        deadline_(in_seconds(0.9 * request.time_limit_s)),
        plan_(ring_plan(p_, options_)),
        context_(request.cell.threads) {
    agree();
    const Shard &queries = plan_.queries(rank()), &keys = plan_.keys(rank());
    inputs_ = make_inputs_of(request.cell.input, p_, queries.segments(), keys.segments(),
                             request.cell.threads);
    output_ = Tensor({p_.batch, p_.num_heads, queries.size(), p_.value_dim});
  }

  // The answer, as serve_worker writes it.
  json run() {
    switch (request_.pass) {
      case Pass::error:
        judge();
        break;
      case Pass::memory:
        measure_memory();
        break;
      case Pass::time:
        measure_time();
        break;
      case Pass::input:
      case Pass::pattern:
      case Pass::calibration:
        throw Error(
            "ranks hold a part of the sequence each: no input is measured, no pattern drawn");
    }
    hash_output();  // when all are done
    return {{"result", measurements_to_json(result_)}, {"spent", to_json(spent_)}};
  }

 private:
  int rank() const { return communicator_.rank(); }

  // What may differ though the request is one: the program of a host, its files.
  void agree() {
    if (communicator_.size() != plan_.ranks()) {
      throw CommunicatorError(
          fmt::format("the launcher started {} ranks, the cell has {}: is {{ranks}} in the "
                      "launcher, and is it that of {}?",
                      communicator_.size(), plan_.ranks(), mpi_library()));
    }
    Facts facts = facts_of(plan_, p_);
    for (const auto& [name, value] : machine_provenance()) {
      if (name == "version" || name == "compiler") facts.emplace_back(name, value);
    }
    facts.emplace_back("MPI", mpi_library());
    if (request_.cell.input.is_trace()) {
      facts.emplace_back("bytes of the trace",
                         fmt::format("{}", InputFile(request_.cell.input.path).size()));
    }
    handshake(communicator_, facts, deadline_);
  }

  Inputs own_inputs() const {
    return {inputs_.queries.view(), inputs_.keys.view(), inputs_.values.view(), {}};
  }

  RankTimes forward(bool compute = true) {
    const Workspace::Scope scope(context_.workspace());
    RingRank own(plan_, p_, communicator_, context_.workspace());
    own.load_own(own_inputs());
    const Patience patience{request_.patience_s, Patience{}.slack, deadline_};
    const RankTimes times = compute ? ring_pass(own, plan_, context_, patience, &at_step_)
                                    : ring_pass(
                                          own, plan_, [](int) {}, patience, &at_step_);
    at_step_ = -1;
    longest_pass_ = std::max(longest_pass_, times.pass);
    if (compute) own.store_own({output_.mutable_view(), {}});
    return times;
  }

  // When ranks that have just made the same passes are overdue.
  Communicator::Deadline soon() const {
    return std::min(deadline_, in_seconds(request_.patience_s + Patience{}.slack * longest_pass_));
  }
  void begin_together() { allgather(communicator_, std::span<const double>(), soon()); }
  // One value of each rank.
  std::vector<double> of_ranks(double own) {
    return allgather(communicator_, std::span(&own, 1), soon());
  }
  double longest(double own) { return std::ranges::max(of_ranks(own)); }

  void tell(const char* name, double own) { result_.measured.push_back({name, of_ranks(own)}); }

  // Over the hashes of all ranks' rows, in their order.
  void hash_output() {
    const std::string own = hash_of(output_.mutable_view());
    const auto all = allgather(communicator_, std::as_bytes(std::span(own)), deadline_);
    result_.output_hash = fmt::format("{:016x}", XXH3_64bits(all.data(), all.size()));
  }

  void judge() {
    const Clock::time_point begin = Clock::now();
    const RankTimes times = forward();
    result_.measured.push_back({"pass_s", {longest(times.pass)}});
    tell("rank_compute_s", times.computing);
    tell("rank_wait_s", times.waiting);
    const OwnShard own{plan_, rank(), own_inputs(), output_.view()};
    judge_shards(*attention_, variant_.traits(p_, options_), own,
                 {request_.error_rows, request_.seed}, communicator_, deadline_, context_, result_);
    spent_.judging_s = seconds_since(begin);
  }

  void measure_memory() {
    context_.arena().for_each(context_.threads(), [](Index, int) {});  // threads are not the pass's
    allgather(communicator_, std::span<const double>(), deadline_);    // nor are connections
    const Clock::time_point begin = Clock::now();
    const MemoryUse use = measure_memory_of([&] { forward(); });
    spent_.measured_s = seconds_since(begin);
    const auto total = [&](const std::optional<double>& own) -> std::optional<double> {
      const auto all = of_ranks(own.value_or(-1));
      if (std::ranges::min(all) < 0) return std::nullopt;
      double sum = 0;
      for (double one : all) sum += one;
      return sum;
    };
    const auto workspace = static_cast<double>(context_.workspace().peak_bytes());
    result_.workspace_bytes = total(workspace);
    result_.heap_peak_bytes = total(use.heap_peak_bytes);
    result_.rss_peak_bytes = total(use.rss_peak_bytes);
    tell("rank_workspace_bytes", workspace);
    if (result_.rss_peak_bytes) tell("rank_resident_bytes", *use.rss_peak_bytes);
  }

  void measure_time() {
    const Clock::time_point start = Clock::now();
    forward();  // warms caches, takes scratch, connects neighbours
    spent_.warm_up_s = seconds_since(start);
    double total = 0, computing = 0, waiting = 0;
    std::vector<double> passes, most_computing;
    do {
      begin_together();
      const Clock::time_point begin = Clock::now();
      const RankTimes times = forward();
      // Of the slowest rank; the same number everywhere, so that all stop together.
      total += longest(seconds_since(begin));
      passes.push_back(longest(times.pass));
      most_computing.push_back(longest(times.computing));
      computing += times.computing;
      waiting += times.waiting;
    } while (total < request_.min_time_s);
    const auto count = static_cast<double>(passes.size());
    result_.round_seconds = {total / count};
    spent_.measured_s = total;
    const double pass = median(passes);
    result_.measured.push_back({"pass_s", {pass}});
    tell("rank_compute_s", computing / count);
    tell("rank_wait_s", waiting / count);
    measure_overlap(pass, median(most_computing));
  }

  void measure_overlap(double pass, double computing) {
    std::vector<double> exchanges;
    for (int n = 0; n < 3; ++n) {
      begin_together();
      exchanges.push_back(longest(forward(false).pass));
    }
    const double exchange = median(exchanges);
    result_.measured.push_back({"exchange_s", {exchange}});
    double sent = 0;
    for (int rank = 0; rank < plan_.ranks(); ++rank) {
      sent += static_cast<double>(plan_.bytes_sent(rank));
    }
    const double shorter = std::min(computing, exchange);
    if (sent == 0 || !(shorter > 0)) return;  // nothing to hide
    result_.measured.push_back({"overlap", {1 - (pass - std::max(computing, exchange)) / shorter}});
  }

  const WorkerRequest& request_;
  const Variant& variant_;
  const Options options_;
  const std::unique_ptr<const Attention> attention_;
  const Problem& p_;
  Communicator& communicator_;
  std::atomic<int>& at_step_;
  const Communicator::Deadline deadline_;
  const RingPlan plan_;
  Context context_;
  InputTensors inputs_;
  Tensor output_;
  double longest_pass_ = 0;  // s
  CellResult result_;
  Spent spent_;
};

json calibration_of(const WorkerRequest& request, Communicator& communicator) {
  if (communicator.size() != 2) {
    throw CommunicatorError(
        fmt::format("the launcher started {} ranks; 2 are calibrated: is {{ranks}} in it?",
                    communicator.size()));
  }
  Context context(request.cell.threads);
  const Cluster found = calibrate_ranks(communicator, request.cell.problem, context,
                                        in_seconds(0.9 * request.time_limit_s));
  return {{"calibration",
           {{"rate", found.rate},
            {"overhead_s", found.overhead},
            {"latency_s", found.network.latency},
            {"bandwidth", found.network.bandwidth},
            {"contention", found.contention}}}};
}

}  // namespace

json rank_answer(const WorkerRequest& request, const Variant& variant, Communicator& communicator,
                 std::atomic<int>& at_step) {
  if (request.pass == Pass::calibration) return calibration_of(request, communicator);
  return Rank(request, variant, communicator, at_step).run();
}

}  // namespace longattn

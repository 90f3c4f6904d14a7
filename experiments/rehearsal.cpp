#include "experiments/rehearsal.h"

#include <fmt/format.h>

#include <algorithm>
#include <barrier>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

#include "experiments/inputs/generators.h"
#include "experiments/measure/rank_worker.h"
#include "experiments/measure/spawn.h"
#include "experiments/measure/worker.h"
#include "experiments/report/text.h"
#include "experiments/serialize.h"
#include "variants/ring/ring.h"
#include "variants/ring/ring_pass.h"
#include "variants/ring/shaped_network.h"
#include "variants/ring/thread_communicator.h"

namespace longattn {
namespace {

using nlohmann::json;

const std::atomic<int> never_stopped{0};  // whoever interrupts ends the process

bool over_mpi(const VariantRequest& request) {
  return request.variant->name == kRing.name && process_count(kRing.name, request.options) > 0;
}

Cell cell_of(const ProblemRequest& problem, const Options& options, int threads) {
  Cell cell;
  cell.input = problem.input;
  cell.problem = problem.problem;
  cell.variant = kRing.name;
  cell.threads = threads;
  for (const auto& [name, value] : options.all()) cell.options.emplace_back(name, to_text(value));
  return cell;
}

// What ranks answer to one request. Throws Error with what they say.
json ask_ranks(const Experiment& experiment, Pass pass, const Cell& cell, int ranks) {
  const Limits& limits = experiment.limits;
  const WorkerRequest request{pass,
                              cell,
                              "",
                              experiment.measure.min_time_s,
                              experiment.measure.error_rows,
                              experiment.measure.seeds,
                              experiment.seed,
                              limits.time_s,
                              limits.memory_bytes,
                              limits.patience_s};
  const WorkerOutcome outcome =
      run_ranks(to_text(request), launcher_of(experiment.launcher, ranks),
                {limits.time_s, limits.memory_bytes, cell.threads}, never_stopped);
  if (outcome.status != Status::ok) throw Error(outcome.reason);
  json answer = json::parse(outcome.output, nullptr, false);
  if (!answer.is_object()) throw Error("the ranks ended without a result");
  return answer;
}

double pass_seconds(const json& answer) {
  return answer.at("result").at("measured").at("pass_s").at(0);
}

constexpr double kSlack = 4;  // times the prediction, before ranks give up

// All ranks of one rehearsal as threads.
class Ensemble {
 public:
  Ensemble(Rehearsal& rehearsal, const Inputs& inputs)
      : rehearsal_(rehearsal),
        inputs_(inputs),
        problem_(rehearsal.problem->problem),
        cluster_(rehearsal.outlook.cluster->of(rehearsal.outlook.ranks)),
        plan_(ring_plan(problem_, rehearsal.ring->options, cluster_, rehearsal.outlook.ranks)) {
    for (int rank = 0; rank < plan_.ranks(); ++rank) {
      for (int step = 0; step < plan_.ranks(); ++step) {
        if (plan_.operations(rank, plan_.origin(rank, step)) > 0) ++steps_of_pass_;
      }
    }
  }

  // Seconds of the slowest rank. Throws what a rank threw first.
  double pass(Tensor& output) {
    const bool gathers = plan_.settings().all_gather;
    const int count = plan_.ranks();
    Workspace shared;
    ThreadTeam team(count, shared, gathers ? 2 * count : ThreadTeam::kMessagesOfRank);
    ShapedNetwork network(cluster_, count, gathers, ShapedNetwork::Time::real);
    std::barrier together(count);
    std::vector<double> seconds(static_cast<size_t>(count));
    std::vector<std::exception_ptr> failures(seconds.size());
    late_ = 0;
    std::vector<std::jthread> threads;
    for (int n = 0; n < count; ++n) {
      threads.emplace_back([&, n] {
        try {
          seconds[static_cast<size_t>(n)] = of_rank(n, team, network, together, output);
        } catch (...) {
          failures[static_cast<size_t>(n)] = std::current_exception();
          ThreadCommunicator(team, n).abort("another rank failed");
          together.arrive_and_drop();  // nobody waits for it
        }
      });
    }
    threads.clear();  // joins
    for (const std::exception_ptr& failure : failures) {
      if (failure) std::rethrow_exception(failure);
    }
    rehearsal_.steps += steps_of_pass_;
    rehearsal_.late_steps += late_;
    return std::ranges::max(seconds);
  }

 private:
  double of_rank(int n, ThreadTeam& team, ShapedNetwork& network, std::barrier<>& together,
                 Tensor& output) {
    ShapedCommunicator communicator(network, std::make_unique<ThreadCommunicator>(team, n));
    Context context(1);
    RingRank rank(plan_, problem_, communicator, context.workspace());
    rank.load(inputs_);
    together.arrive_and_wait();
    const auto work = [&](int step) {
      const double taken = work_seconds(plan_, cluster_, n, step);
      const double until = network.now() + taken;
      rank.compute(step, context);
      if (taken > 0 && network.now() > until) ++late_;
      network.sleep_until(n, until);
    };
    const Patience patience{.seconds =
                                Patience{}.seconds + kSlack * rehearsal_.outlook.forecast.total};
    const RankTimes times = ring_pass(rank, plan_, work, patience);
    rank.store({output.mutable_view(), {}});
    return times.pass;
  }

  Rehearsal& rehearsal_;
  const Inputs& inputs_;
  const Problem& problem_;
  const Cluster cluster_;
  const RingPlan plan_;
  Index steps_of_pass_ = 0;
  std::atomic<Index> late_ = 0;
};

Tensor output_of(const Problem& p) {
  return Tensor({p.batch, p.num_heads, p.query_len, p.value_dim});
}

void rehearse_with_threads(Rehearsal& rehearsal, int passes) {
  const Problem& p = rehearsal.problem->problem;
  const int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const InputTensors tensors = make_inputs(rehearsal.problem->input, p, threads);
  const Inputs inputs{tensors.queries.view(), tensors.keys.view(), tensors.values.view(), {}};
  Tensor output = output_of(p), in_step = output_of(p);
  Ensemble ensemble(rehearsal, inputs);
  for (int n = 0; n <= passes; ++n) {
    const double seconds = ensemble.pass(output);
    if (n == 0) {  // it warms caches
      rehearsal.steps = rehearsal.late_steps = 0;
    } else {
      rehearsal.seconds.push_back(seconds);
    }
  }
  const Options options =
      rehearsal.ring->options.with(kRing.options, "ranks", std::to_string(rehearsal.outlook.ranks));
  Context context(threads);
  make_attention(kRing, p, options)->forward(inputs, {in_step.mutable_view(), {}}, context);
  if (std::memcmp(output.bytes_begin(), in_step.bytes_begin(),
                  static_cast<size_t>(output.bytes())) != 0) {
    throw Error("the ranks' output differs from that of the same ring in step");
  }
}

void rehearse_with_processes(Rehearsal& rehearsal, const Experiment& experiment, int passes) {
  // Ranks would choose by a machine that is assumed; the prediction is of a plan.
  const Options options = rehearsal.ring->options.with(
      kRing.options, "exchange", rehearsal.outlook.gathered ? "all_gather" : "ring");
  const Cell cell = cell_of(*rehearsal.problem, options, experiment.threads.front());
  for (int n = 0; n < passes; ++n) {
    rehearsal.seconds.push_back(
        pass_seconds(ask_ranks(experiment, Pass::time, cell, rehearsal.outlook.ranks)));
  }
}

// Why it cannot be run here; empty: it can.
std::string obstacle(const Rehearsal& rehearsal, const Limits& limits) {
  const ClusterOutlook& outlook = rehearsal.outlook;
  if (!outlook.unsupported.empty()) return outlook.unsupported;
  if (rehearsal.processes)
    return rehearsal.ring->variant->unsupported(rehearsal.problem->problem,
                                                rehearsal.ring->options);
  constexpr int kMostThreads = 64;
  if (outlook.ranks > kMostThreads) {
    return fmt::format("{} ranks, at most {} are rehearsed", outlook.ranks, kMostThreads);
  }
  if (outlook.cluster->cluster.contention > 0) return "contention cannot be acted out";
  if (outlook.cluster->depth != RingSettings{}.depth) {
    return fmt::format("depth {}: ranks have room for {} blocks", outlook.cluster->depth,
                       RingSettings{}.depth);
  }
  const Problem& p = rehearsal.problem->problem;
  const double needed = outlook.memory_bytes * outlook.ranks +
                        3 * 4 *
                            static_cast<double>(p.batch * p.num_heads * p.query_len *
                                                std::max(p.head_dim, p.value_dim));
  if (needed > limits.memory_bytes) {
    return fmt::format("needs about {}, limits.memory is {}", bytes(needed),
                       bytes(limits.memory_bytes));
  }
  return "";
}

}  // namespace

const Problem* first_over_mpi(const Experiment& experiment) {
  for (const CellRequest& cell : experiment.cells) {
    if (over_mpi(experiment.variants[cell.variant])) {
      return &experiment.problems[cell.problem].problem;
    }
  }
  return nullptr;
}

ClusterRequest calibrated_cluster(const Experiment& experiment, const Problem& like) {
  const Options options(kRing.options, {{"ranks", "2"}, {"transport", "mpi"}});
  Cell cell;
  cell.variant = kRing.name;
  cell.problem = like;
  cell.threads = experiment.threads.front();
  if (const std::string reason = kRing.unsupported(like, options); !reason.empty()) {
    throw Error("no two ranks to calibrate with: " + reason);
  }
  json found;
  try {
    found = ask_ranks(experiment, Pass::calibration, cell, 2).at("calibration");
  } catch (const Error& error) {
    throw Error(std::string("no two ranks to calibrate with: ") + error.what());
  }
  ClusterRequest cluster;
  cluster.name =
      fmt::format("this machine, {} thread{} a rank", cell.threads, cell.threads == 1 ? "" : "s");
  cluster.ranks = {2};
  cluster.cluster.rate = found.at("rate");
  cluster.cluster.overhead = found.at("overhead_s");
  cluster.cluster.network = {found.at("latency_s"), found.at("bandwidth")};
  cluster.cluster.contention = found.at("contention");
  cluster.measured_ranks = 2;
  return cluster;
}

std::vector<Rehearsal> rehearsals(const Experiment& experiment, const ClusterRequest* calibrated) {
  std::vector<Rehearsal> all;
  std::vector<std::pair<size_t, size_t>> done;  // cells differ in threads too
  const auto add = [&](const CellRequest& cell, const ClusterRequest& cluster, int ranks) {
    Rehearsal& one = all.emplace_back();
    one.problem = &experiment.problems[cell.problem];
    one.ring = &experiment.variants[cell.variant];
    one.processes = over_mpi(*one.ring);
    one.outlook = cluster_outlook(one.problem->problem, *one.ring, cluster, ranks);
  };
  for (const CellRequest& cell : experiment.cells) {
    const VariantRequest& request = experiment.variants[cell.variant];
    const std::pair key{cell.problem, cell.variant};
    if (request.variant->name != kRing.name || std::ranges::count(done, key) > 0) continue;
    done.push_back(key);
    if (over_mpi(request)) {
      if (calibrated != nullptr) add(cell, *calibrated, process_count(kRing.name, request.options));
      continue;
    }
    for (const ClusterRequest& cluster : experiment.clusters) {
      for (int ranks : cluster.ranks) add(cell, cluster, ranks);
    }
  }
  return all;
}

void rehearse(Rehearsal& rehearsal, const Experiment& experiment, int passes) {
  rehearsal.failure = obstacle(rehearsal, experiment.limits);
  if (!rehearsal.failure.empty()) return;
  try {
    if (rehearsal.processes) {
      rehearse_with_processes(rehearsal, experiment, passes);
    } else {
      rehearse_with_threads(rehearsal, passes);
    }
  } catch (const Error& error) {
    rehearsal.failure = error.what();
  }
}

}  // namespace longattn

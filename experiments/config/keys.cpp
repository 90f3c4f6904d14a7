#include "experiments/config/keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "experiments/config/experiment.h"
#include "experiments/inputs/generator.h"

namespace longattn {
namespace {

constexpr Bounds kSeeds{0, 0x1p62};
constexpr Bounds kSizes{1, 1e6};

std::string word(bool value) { return value ? "true" : "false"; }

}  // namespace

const Key& Section::key(std::string_view wanted) const {
  const auto found = std::ranges::find(keys, wanted, &Key::name);
  if (found == keys.end()) throw std::logic_error(fmt::format("{} has no {}", name, wanted));
  return *found;
}

std::vector<std::string> Section::names() const {
  std::vector<std::string> all;
  for (const Key& one : keys) all.push_back(one.name);
  return all;
}

const Section& config_keys() {
  static const Section section = {
      "a config",
      {{.name = "longattn",
        .doc = "Version of the config format",
        .bounds = {1, 1},
        .value = "longattn (the version of the config format)"},
       {.name = "name",
        .type = KeyType::text,
        .doc = fmt::format("Names the folder of the results: at most {} letters, digits and _ . -",
                           kLongestName)},
       {.name = "description", .type = KeyType::text, .doc = "What the experiment is for"},
       {.name = "extends",
        .type = KeyType::path,
        .doc = "Another config, relative to this file, to build on: maps merge, lists and values "
               "replace, and nothing (~) takes a key away"},
       {.name = "threads",
        .type = KeyType::integers,
        .doc = "Numbers of threads to measure with; all cores if left out",
        .bounds = {1, 1024}},
       {.name = "inputs", .type = KeyType::list, .doc = "Where queries, keys and values come from"},
       {.name = "problem",
        .type = KeyType::map,
        .doc = "Lengths and shapes; a trace brings its own shapes"},
       {.name = "variants",
        .type = KeyType::list,
        .doc = "What is measured, each with its options"},
       {.name = "where",
        .type = KeyType::text,
        .doc = "Keeps the cells for which this holds: variant != 'full' or length <= 8192"},
       {.name = "measure", .type = KeyType::map, .doc = "What is measured of each cell"},
       {.name = "limits",
        .type = KeyType::map,
        .doc = "Limits of each measurement, which has a process of its own, and of the experiment"},
       {.name = "clusters",
        .type = KeyType::list,
        .doc =
            "Machines that are not here: `longattn plan` tells what the rings among the variants "
            "would take on them, by a model"},
       {.name = "launcher",
        .type = KeyType::text,
        .doc = "Command that starts {ranks} processes, of ring with transport mpi: srun -n "
               "{ranks}, or mpirun --hostfile hosts -n {ranks}; words are parted by spaces",
        .fallback = Experiment{}.launcher},
       {.name = "seed",
        .doc = "Of the sampling of rows and of the order of timing rounds",
        .bounds = kSeeds,
        .fallback = fmt::format("{}", Experiment{}.seed)}}};
  return section;
}

const Section& input_keys() {
  static const Section section = [] {
    Section made = {
        "an input",
        {{.name = "label",
          .type = KeyType::text,
          .doc = "Names the input in tables; made from the other keys if left out"},
         {.name = "trace",
          .type = KeyType::path,
          .doc = "Tensors of a trained model, a .safetensors file relative to this one"},
         {.name = "layer", .doc = "Of the trace", .bounds = {0, 1e6}, .fallback = "0"}},
        true};
    for (const Generator* generator : generators()) {
      made.keys.push_back({.name = std::string(generator->name),
                           .type = KeyType::map,
                           .doc = fmt::format("Generated: {}", generator->summary)});
    }
    return made;
  }();
  return section;
}

const Section& problem_keys() {
  static const Section section = {
      "problem",
      {{.name = "lengths",
        .type = KeyType::integers,
        .doc = "Tokens; each is measured. Of a trace, the first ones; all of it if left out",
        .bounds = {1, 0x1p40},
        .value = "length"},
       {.name = "batch",
        .doc = "Sequences in one pass",
        .bounds = kSizes,
        .fallback = fmt::format("{}", Problem{}.batch)},
       {.name = "num_heads",
        .doc = "Heads of queries",
        .bounds = kSizes,
        .fallback = fmt::format("{}", Problem{}.num_heads)},
       {.name = "num_kv_heads",
        .doc = "Heads of keys and values, a divisor of num_heads; num_heads if left out",
        .bounds = kSizes},
       {.name = "head_dim",
        .doc = "Elements of one query and of one key",
        .bounds = kSizes,
        .fallback = fmt::format("{}", Problem{}.head_dim)},
       {.name = "value_dim",
        .doc = "Elements of one value; head_dim if left out",
        .bounds = kSizes},
       {.name = "dtype",
        .type = KeyType::choice,
        .doc = "How queries, keys and values are stored",
        .choices = {"float32", "bfloat16", "float16"},
        .fallback = std::string(to_string(Problem{}.dtype))},
       {.name = "causal",
        .type = KeyType::boolean,
        .doc = "No query sees a later key; a trace says what holds if left out",
        .fallback = word(Mask{}.causal)},
       {.name = "scale",
        .type = KeyType::number,
        .doc = "Factor on the scores; that of the trace, or 1/sqrt(head_dim), if left out",
        .bounds = {-1e6, 1e6}}},
      true};
  return section;
}

const Section& measure_keys() {
  const Measure m;
  static const Section section = {"measure",
                                  {{.name = "rounds",
                                    .doc = "Timing rounds, each in a process of its own",
                                    .bounds = {1, 1000},
                                    .fallback = fmt::format("{}", m.rounds)},
                                   {.name = "min_time",
                                    .type = KeyType::duration,
                                    .doc = "Least time that a round repeats the pass for",
                                    .fallback = fmt::format("{}ms", m.min_time_s * 1e3)},
                                   {.name = "max_time",
                                    .type = KeyType::duration,
                                    .doc = "Most time for all rounds of a cell, after three"},
                                   {.name = "error_rows",
                                    .doc = "Query rows on which errors are judged, over all heads",
                                    .bounds = {1, 1e6},
                                    .fallback = fmt::format("{}", m.error_rows)},
                                   {.name = "error_budget",
                                    .type = KeyType::number,
                                    .doc = "Relative error within which the report names the "
                                           "cheapest way, for all heads and for each",
                                    .bounds = {1e-9, 1},
                                    .fallback = fmt::format("{}", m.error_budget)},
                                   {.name = "seeds",
                                    .doc = "Of variants that draw at random, for their spread",
                                    .bounds = {1, 1000},
                                    .fallback = fmt::format("{}", m.seeds)},
                                   {.name = "time",
                                    .type = KeyType::boolean,
                                    .doc = "Whether time is measured",
                                    .fallback = word(m.time)},
                                   {.name = "memory",
                                    .type = KeyType::boolean,
                                    .doc = "Whether memory is measured",
                                    .fallback = word(m.memory)},
                                   {.name = "error",
                                    .type = KeyType::boolean,
                                    .doc = "Whether errors are judged",
                                    .fallback = word(m.error)},
                                   {.name = "patterns",
                                    .type = KeyType::boolean,
                                    .doc = "Whether pictures of the attention patterns are drawn",
                                    .fallback = word(m.patterns)}}};
  return section;
}

const Section& limits_keys() {
  const Limits limits;
  static const Section section = {
      "limits",
      {{.name = "time",
        .type = KeyType::duration,
        .doc = "Longest that one measurement may take",
        .fallback = fmt::format("{}s", limits.time_s)},
       {.name = "memory",
        .type = KeyType::size,
        .doc = "Most memory that one measurement may take; what needs more is not started",
        .fallback = fmt::format("{}GiB", limits.memory_bytes / 0x1p30)},
       {.name = "patience",
        .type = KeyType::duration,
        .doc = "How long a rank that is a process waits for another, beyond four times what the "
               "work at hand should take",
        .fallback = fmt::format("{}s", limits.patience_s)},
       {.name = "max_cells",
        .doc = "Most combinations of inputs, lengths, variants and threads",
        .bounds = {1, 1e6},
        .fallback = fmt::format("{}", limits.max_cells)}}};
  return section;
}

const Section& cluster_keys() {
  const ClusterRequest request;
  const Cluster& cluster = request.cluster;
  constexpr Bounds kRanks{1, 4096}, kFactors{1, 1e6};
  static const Section section = {
      "a cluster",
      {{.name = "label", .type = KeyType::text, .doc = "Names it in tables"},
       {.name = "ranks",
        .type = KeyType::integers,
        .doc = "Ranks that share the sequence, in place of the variant's own; each is predicted",
        .bounds = kRanks},
       {.name = "ranks_per_host",
        .doc = "Ranks on each host, which share its way to the network",
        .bounds = kRanks,
        .fallback = fmt::format("{}", cluster.ranks_per_host)},
       {.name = "placement",
        .type = KeyType::choice,
        .doc = "packed: neighbours in the ring share hosts; spread: every hop leaves its host",
        .choices = {"packed", "spread"},
        .fallback = "packed"},
       {.name = "measured_ranks",
        .doc = "Most ranks on which the figures below were measured; left out: none were",
        .bounds = kRanks},
       {.name = "rate",
        .type = KeyType::number,
        .doc = "Operations that a rank does a second, two for each multiply-add",
        .bounds = {1e3, 1e18}},
       {.name = "overhead",
        .type = KeyType::duration,
        .doc = "Time of each step in which a rank has work, beyond its operations"},
       {.name = "bandwidth",
        .type = KeyType::size,
        .doc = "Bytes a second between hosts, of each host: 1.25GB is 10 Gbit/s"},
       {.name = "latency", .type = KeyType::duration, .doc = "Of a message between hosts"},
       {.name = "host_bandwidth",
        .type = KeyType::size,
        .doc = "Bytes a second between two ranks of a host"},
       {.name = "host_latency",
        .type = KeyType::duration,
        .doc = "Of a message between two ranks of a host"},
       {.name = "contention",
        .type = KeyType::number,
        .doc = "Seconds of work lost a second of a transfer beside it",
        .bounds = {0, 10},
        .fallback = "0"},
       {.name = "depth",
        .doc = "Blocks that a rank has room for, the one at work among them; more than 2 is what "
               "no ring here does yet",
        .bounds = {1, 64},
        .fallback = fmt::format("{}", request.depth)},
       {.name = "jitter",
        .type = KeyType::number,
        .doc = "Deviation of the logarithm of what a step takes, whose mean stays",
        .bounds = {0, 2},
        .fallback = "0"},
       {.name = "stall_probability",
        .type = KeyType::number,
        .doc = "Of a step of a rank to take stall_factor times as long",
        .bounds = {0, 1},
        .fallback = "0"},
       {.name = "stall_factor",
        .type = KeyType::number,
        .doc = "How many times as long a step takes that stalls",
        .bounds = kFactors,
        .fallback = "1"},
       {.name = "slow_ranks",
        .doc = "Ranks, evenly apart, that compute slow_factor times as long",
        .bounds = {0, kRanks.most},
        .fallback = fmt::format("{}", request.slow_ranks)},
       {.name = "slow_factor",
        .type = KeyType::number,
        .doc = "How many times as long a slow rank computes",
        .bounds = kFactors,
        .fallback = "1"},
       {.name = "seed",
        .doc = "Of jitter and stalls",
        .bounds = kSeeds,
        .fallback = fmt::format("{}", cluster.seed)},
       {.name = "mtbf",
        .type = KeyType::duration,
        .doc = "Mean time between failures of a host: 26280h are three years"}}};
  return section;
}

}  // namespace longattn

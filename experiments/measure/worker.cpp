#include "experiments/measure/worker.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <new>

#include "core/error.h"
#include "core/io/file.h"
#include "experiments/inputs/shared_inputs.h"
#include "experiments/judge/errors.h"
#include "experiments/judge/inputs.h"
#include "experiments/measure/guarded_output.h"
#include "experiments/measure/memory.h"
#include "experiments/measure/spawn.h"
#include "experiments/measure/spent.h"
#include "experiments/report/text.h"
#include "experiments/serialize.h"

namespace longattn {
namespace {

using nlohmann::json;

constexpr Index kPictureSide = 96;
constexpr Index kQueriesPerBin =
    6;  // enough for the eye; all of a long sequence would take minutes

// Everything a pass needs, built from the request.
struct Task {
  Task(const WorkerRequest& r, const Variant& v, MappedInputs& mapped)
      : request(r),
        variant(v),
        options(v.options, r.cell.options),
        attention(make_attention(v, r.cell.problem, options)),
        inputs(mapped.inputs(v)),
        context(r.cell.threads) {}

  const WorkerRequest& request;
  const Variant& variant;
  Options options;
  std::unique_ptr<const Attention> attention;
  Inputs inputs;
  Context context;
};

using Clock = std::chrono::steady_clock;

// Runs `body` and adds its time.
template <class Body>
void timed(double& seconds, const Body& body) {
  const Clock::time_point begin = Clock::now();
  body();
  seconds += seconds_since(begin);
}

Tensor make_output(const Problem& p) {
  return Tensor({p.batch, p.num_heads, p.query_len, p.value_dim});
}

// Keeps the seconds per iteration; Google Benchmark would print them.
class TimeReporter final : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.run_type == Run::RT_Iteration && run.iterations > 0) {
        total_seconds = run.real_accumulated_time;
        seconds = total_seconds / static_cast<double>(run.iterations);
      }
    }
  }
  double seconds = 0, total_seconds = 0;
};

// A round whose threads were ready to run but had no processor for more than this is disturbed.
constexpr double kDisturbedShare = 0.05;

// How long the threads of this process have waited for a processor; 0 where the kernel does not
// say.
double seconds_waited() {
  double nanoseconds = 0;
  std::error_code ignored;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", ignored)) {
    double running = 0, waiting = 0;
    std::ifstream(task.path() / "schedstat") >> running >> waiting;
    nanoseconds += waiting;
  }
  return 1e-9 * nanoseconds;
}

void measure_time(Task& task, CellResult& result, Spent& spent) {
  Tensor output = make_output(task.attention->problem());
  const Outputs outputs{output.mutable_view(), {}};
  // Warms caches, takes scratch.
  timed(spent.warm_up_s, [&] { task.attention->forward(task.inputs, outputs, task.context); });
  benchmark::RegisterBenchmark("forward",
                               [&](benchmark::State& state) {
                                 for (auto step : state) {
                                   static_cast<void>(step);
                                   task.attention->forward(task.inputs, outputs, task.context);
                                   benchmark::ClobberMemory();
                                 }
                               })
      ->UseRealTime()
      ->MinTime(task.request.min_time_s);
  TimeReporter reporter;
  const double waited_before = seconds_waited();
  double wall = 0;
  timed(wall, [&] { benchmark::RunSpecifiedBenchmarks(&reporter); });
  if (!(reporter.seconds > 0)) throw Error("the benchmark library reported no time");
  spent.measured_s += reporter.total_seconds;
  spent.warm_up_s += wall - reporter.total_seconds;  // to find the number of iterations
  const double waited = seconds_waited() - waited_before;
  result.disturbed_rounds = waited > kDisturbedShare * wall * task.context.threads() ? 1 : 0;
  result.round_seconds = {reporter.seconds};
  result.output_hash = hash_of(output.mutable_view());
}

void measure_memory(Task& task, CellResult& result, Spent& spent) {
  Tensor output = make_output(task.attention->problem());
  // What starting the threads takes is not the variant's.
  task.context.arena().for_each(task.context.threads(), [](Index, int) {});
  const MemoryUse use = measure_memory_of([&] {
    timed(spent.measured_s, [&] {
      task.attention->forward(task.inputs, {output.mutable_view(), {}}, task.context);
    });
  });
  result.workspace_bytes = static_cast<double>(task.context.workspace().peak_bytes());
  result.heap_peak_bytes = use.heap_peak_bytes;
  result.rss_peak_bytes = use.rss_peak_bytes;
  result.output_hash = hash_of(output.mutable_view());
}

void measure_errors(Task& task, CellResult& result, Spent& spent) {
  const Problem& p = task.attention->problem();
  Reseeded reseeded;
  if (task.options.has("seed")) {
    reseeded = [&](Index n) {
      const std::string seed = std::to_string(task.options.integer("seed") ^ n);
      return make_attention(task.variant, p, task.options.with(task.variant.options, "seed", seed));
    };
  }
  const GuardedOutput output(p);
  timed(spent.judging_s, [&] {
    task.attention->forward(task.inputs, {output.view(), {}}, task.context);
    judge_errors(
        {*task.attention, task.variant.traits(p, task.options), task.inputs, output.view()},
        {task.request.error_rows, task.request.seed}, task.context, result, reseeded,
        task.request.seeds);
  });
  result.output_hash = hash_of(output.view());
  if (!output.is_intact()) {
    result.status = Status::nonconforming;
    result.reason = "forward writes in front of its output";
  }
}

// |weights| of the first head: the mean over some queries of a bin, summed over its keys.
json draw_pattern(const Task& task) {
  const Problem& p = task.attention->problem();
  // Bins of equal size (but for the last): uneven ones would draw stripes.
  const auto per_bin = [](Index len) { return std::max<Index>(len - 1, 0) / kPictureSide + 1; };
  const Index queries_per_bin = per_bin(p.query_len), keys_per_bin = per_bin(p.key_len);
  const Index rows = (p.query_len + queries_per_bin - 1) / queries_per_bin;
  const Index columns = (p.key_len + keys_per_bin - 1) / keys_per_bin;
  std::vector<float> mass(static_cast<size_t>(rows * columns), 0.0f);
  const auto definition = task.attention->definition(task.inputs, 0, 0);
  for (Index r = 0; r < rows; ++r) {
    const Index first = r * queries_per_bin, last = std::min(first + queries_per_bin, p.query_len);
    std::vector<Index> queries;
    const Index drawn = std::min(last - first, kQueriesPerBin);
    for (Index n = 0; n < drawn; ++n) queries.push_back(first + n * (last - first) / drawn);
    const Eigen::MatrixXd weights = definition->rows(queries).weights.cwiseAbs();
    for (Index c = 0; c < columns; ++c) {
      const Index begin = c * keys_per_bin, count = std::min(keys_per_bin, p.key_len - begin);
      const double sum = weights.middleCols(begin, count).sum();
      mass[static_cast<size_t>(r * columns + c)] =
          static_cast<float>(sum / static_cast<double>(drawn));
    }
  }
  return {{"rows", rows}, {"columns", columns}, {"mass", mass}};
}

json measure_the_input(const WorkerRequest& request, MappedInputs& mapped, const Variant& variant) {
  const Cell& cell = request.cell;
  Context context(cell.threads);
  const Generator* generator = find_generator(cell.input.generator);
  const bool plants = generator != nullptr && !generator->planted.empty();
  const auto source = plants ? source_of(cell.input, cell.problem) : nullptr;
  InputResult result = measure_input(cell.problem, mapped.inputs(variant), source.get(),
                                     {request.error_rows, request.seed}, context);
  result.cell_id = cell.id;
  if (const auto target = target_of(cell.input, cell.problem)) {
    result.target = to_string(target->measure);
    result.asked = target->asked;
  }
  if (plants) result.planted = generator->planted;
  return to_json(result);
}

json with_times(json answer, const Spent& spent) {
  answer["spent"] = to_json(spent);
  return answer;
}

json run_pass(const WorkerRequest& request, const Variant& variant) {
  CellResult result;
  Spent spent;
  json answer;
  try {
    MappedInputs mapped(kWorkerInputs, request.layout);
    mapped.touch();
    if (request.pass == Pass::input) {
      timed(spent.judging_s,
            [&] { answer["input"] = measure_the_input(request, mapped, variant); });
      return with_times(answer, spent);
    }
    Task task(request, variant, mapped);
    switch (request.pass) {
      case Pass::input:
        break;  // above: it needs no plan of the variant
      case Pass::calibration:
        throw Error("a worker has no other rank to be calibrated with");
      case Pass::pattern:
        timed(spent.judging_s, [&] { answer["pattern"] = draw_pattern(task); });
        break;
      case Pass::error:
        measure_errors(task, result, spent);
        break;
      case Pass::memory:
        measure_memory(task, result, spent);
        break;
      case Pass::time:
        measure_time(task, result, spent);
        break;
    }
  } catch (const std::bad_alloc&) {
    result = {};
    result.status = Status::oom;
    result.reason = "memory limit reached: an allocation failed";
    if (const auto peak = resident_peak_bytes()) {
      result.reason += fmt::format(" when at most {} had been resident", bytes(*peak));
    }
  }
  if (answer.empty()) answer["result"] = measurements_to_json(result);
  return with_times(answer, spent);
}

void write_result(const json& result) {
  const std::string text = result.dump(-1, ' ', false, json::error_handler_t::replace);
  if (!write_all(kWorkerResult, text)) throw IoError("worker: cannot write its result");
}

}  // namespace

std::string_view to_string(Pass pass) {
  switch (pass) {
    case Pass::input:
      return "input";
    case Pass::error:
      return "error";
    case Pass::memory:
      return "memory";
    case Pass::time:
      return "time";
    case Pass::pattern:
      return "pattern";
    case Pass::calibration:
      return "calibration";
  }
  return "?";
}

std::string to_text(const WorkerRequest& request) {
  return json{{"pass", to_string(request.pass)},
              {"cell", to_json(request.cell)},
              {"layout", request.layout},
              {"min_time_s", request.min_time_s},
              {"error_rows", request.error_rows},
              {"seeds", request.seeds},
              {"seed", request.seed},
              {"time_limit_s", request.time_limit_s},
              {"memory_bytes", request.memory_bytes},
              {"patience_s", request.patience_s}}
      .dump();
}

WorkerRequest request_from(const std::string& text) {
  const json in = json::parse(text, nullptr, false);
  if (!in.is_object()) throw DataError("workers are started by `run`, not by hand");
  WorkerRequest request;
  const auto pass = in.at("pass").get<std::string>();
  for (Pass candidate :
       {Pass::input, Pass::error, Pass::memory, Pass::time, Pass::pattern, Pass::calibration}) {
    if (to_string(candidate) == pass) request.pass = candidate;
  }
  request.cell = cell_from_json(in.at("cell"));
  request.layout = in.at("layout");
  request.min_time_s = in.at("min_time_s");
  request.error_rows = in.at("error_rows");
  request.seeds = in.at("seeds");
  request.seed = in.at("seed");
  request.time_limit_s = in.at("time_limit_s");
  request.memory_bytes = in.at("memory_bytes");
  request.patience_s = in.at("patience_s");
  return request;
}

int serve_worker(std::span<const Variant* const> variants) {
  const WorkerRequest request = request_from({std::istreambuf_iterator<char>(std::cin), {}});
  write_result(run_pass(request, require_variant(variants, request.cell.variant)));
  return 0;
}

}  // namespace longattn

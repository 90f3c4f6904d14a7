#include "experiments/measure/calibration.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <stdexcept>
#include <thread>

#include "core/softmax_definition.h"
#include "core/tolerance.h"
#include "experiments/inputs/generators.h"
#include "experiments/measure/ceilings.h"

namespace longattn {
namespace {

constexpr double kSeconds = 0.6;  // for all ceilings together

template <class Action>
double seconds_of(Action action) {
  const auto start = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The best of three: what disturbs it only ever slows it down.
template <class Rate>
double best(Rate rate) {
  return std::max({rate(), rate(), rate()});
}

void calibrate_judge(Calibration& calibration) {
  Problem p;
  p.num_heads = p.num_kv_heads = 1;
  p.query_len = p.key_len = 8192;
  const int cores = static_cast<int>(std::max(std::thread::hardware_concurrency(), 1u));
  InputTensors tensors;
  const double drawing =
      seconds_of([&] { tensors = make_inputs(generated_input("gaussian"), p, cores); });
  calibration.drawn_per_s =
      static_cast<double>(p.key_len * (2 * p.head_dim + p.value_dim)) / drawing;

  const Inputs inputs{tensors.queries.view(), tensors.keys.view(), tensors.values.view()};
  const auto definition = softmax_definition(p, inputs, 0, 0);
  const std::vector<Index> queries = {0, 1000, 2000, 3000, 4000, 5000, 6000, 7000};
  const double elements = static_cast<double>(queries.size()) *
                          static_cast<double>(p.key_len * (p.head_dim + p.value_dim));
  calibration.judged_per_s = best([&] {
    return elements / seconds_of([&] {
             const Rows rows = definition->rows(queries);
             const Eigen::MatrixXd output = weigh_values(p, inputs, rows, 0, 0);
             if (!output.allFinite()) throw std::logic_error("a definition that is not finite");
           });
  });
}

}  // namespace

const Calibration::Ceilings& Calibration::of(int threads) const {
  const auto found = std::ranges::find(ceilings, threads, &Ceilings::threads);
  if (found == ceilings.end()) throw std::logic_error("threads that were not calibrated");
  return *found;
}

double process_seconds() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
}

Calibration calibrate(std::span<const int> threads, double start_s) {
  Calibration calibration;
  calibration.start_s = start_s;
  calibration.took_s = seconds_of([&] {
    const double slice =
        kSeconds / (6.0 * static_cast<double>(std::max<size_t>(threads.size(), 1)));
    for (int count : threads) {
      ThreadArena arena(count);
      calibration.ceilings.push_back({count, best([&] { return fma_ceiling(arena, slice); }),
                                      best([&] { return read_ceiling(arena, slice); })});
    }
    calibrate_judge(calibration);
  });
  return calibration;
}

}  // namespace longattn

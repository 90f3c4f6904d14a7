// longattn_bench: what the engine and the variants reach of the machine, and how that compares with
// other programs. All flags are Google Benchmark's.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "core/kernels.h"
#include "experiments/benchmarks/peers.h"
#include "experiments/benchmarks/reporter.h"
#include "experiments/benchmarks/suite.h"
#include "variants/registry.h"

int main(int argc, char** argv) {
  using namespace longattn::benchmarks;
  // Our defaults, put before the user's flags so that theirs win.
  std::vector<std::string> arguments = {argv[0], "--benchmark_repetitions=7",
                                        "--benchmark_enable_random_interleaving=true",
                                        "--benchmark_min_time=0.1"};
  arguments.insert(arguments.end(), argv + 1, argv + argc);
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  int count = static_cast<int>(pointers.size());
  pointers.push_back(nullptr);
  benchmark::Initialize(&count, pointers.data());
  if (benchmark::ReportUnrecognizedArguments(count, pointers.data())) return 2;

  register_ceilings();
  register_engine();
  register_variants(longattn::builtin_variants());

  std::vector<std::string> remarks = register_peers();
  remarks.push_back(fmt::format("kernels: {}", longattn::kernels::best().target));

  Reporter reporter(std::move(remarks));
  const size_t matched = benchmark::RunSpecifiedBenchmarks(&reporter);
  benchmark::Shutdown();
  return matched == 0 || reporter.errors() > 0 ? 1 : 0;
}

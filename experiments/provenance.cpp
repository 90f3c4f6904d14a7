#include "experiments/provenance.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "core/kernels.h"

namespace longattn {
namespace {

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

std::string build_type() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return "with a sanitizer: times mean nothing";
#elif defined(NDEBUG)
  return "optimised, without assertions";
#else
  return "with assertions: times mean little";
#endif
}

}  // namespace

Provenance machine_provenance() {
  const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  utsname system{};
  uname(&system);
  double load = 0;
  getloadavg(&load, 1);
  const double memory = static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
                        static_cast<double>(sysconf(_SC_PAGE_SIZE)) / (1 << 30);
  return {{"date", fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(now))},
          {"longattn", LONGATTN_VERSION},
          {"compiler", "GCC-compatible " __VERSION__},
          {"build", build_type()},
          {"vector instructions", std::string(kernels::best().target)},
          {"processor", processor_name()},
          {"cores", std::to_string(std::thread::hardware_concurrency())},
          {"memory", fmt::format("{:.1f} GiB", memory)},
          {"system", fmt::format("{} {} {}", system.sysname, system.release, system.machine)},
          {"load when started", fmt::format("{:.2f}", load)}};
}

}  // namespace longattn

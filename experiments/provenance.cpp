#include "experiments/provenance.h"

#include <elf.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <link.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <string_view>
#include <thread>

#include "core/kernels.h"

namespace longattn {
namespace {

// The rest of the first line of a file that begins with this; empty where there is none.
std::string value_in(const char* path, std::string_view name, std::string_view separator) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t at = line.find(separator);
    if (line.starts_with(name) && at != std::string::npos)
      return line.substr(at + separator.size());
  }
  return "";
}

std::string first_line(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// Cores that are not the second thread of another one; 0: the kernel does not say.
size_t physical_cores() {
  std::set<std::string> cores;
  std::ifstream file("/proc/cpuinfo");
  std::string package;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("physical id")) package = line;
    if (line.starts_with("core id")) cores.insert(package + line);
  }
  return cores.size();
}

std::string core_count() {
  const unsigned threads = std::thread::hardware_concurrency();
  const size_t cores = physical_cores();
  if (cores == 0 || cores == threads) return std::to_string(threads);
  return fmt::format("{} ({} physical)", threads, cores);
}

// The hash that the linker left in this very program: it tells one build from another.
int find_build_id(dl_phdr_info* program, size_t, void* result) {
  for (int n = 0; n < program->dlpi_phnum; ++n) {
    const auto& segment = program->dlpi_phdr[n];
    if (segment.p_type != PT_NOTE) continue;
    const auto* at = reinterpret_cast<const char*>(program->dlpi_addr + segment.p_vaddr);
    const char* const end = at + segment.p_memsz;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      const auto padded = [](size_t size) { return (size + 3) / 4 * 4; };
      ElfW(Nhdr) note;
      std::memcpy(&note, at, sizeof note);
      const char* name = at + sizeof note;
      const auto* bytes = reinterpret_cast<const unsigned char*>(name + padded(note.n_namesz));
      if (note.n_type == NT_GNU_BUILD_ID &&
          std::string_view(name, note.n_namesz) == std::string_view("GNU\0", 4)) {
        for (size_t k = 0; k < note.n_descsz; ++k) {
          *static_cast<std::string*>(result) += fmt::format("{:02x}", bytes[k]);
        }
        return 1;
      }
      at = name + padded(note.n_namesz) + padded(note.n_descsz);
    }
  }
  return 1;  // the first one is the program itself
}

std::string build_id() {
  std::string id;
  dl_iterate_phdr(find_build_id, &id);
  return id.empty() ? "none" : id;
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

std::string system_name(const utsname& system) {
  const std::string name = fmt::format("{} {} {}", system.sysname, system.release, system.machine);
  std::string distribution = value_in("/etc/os-release", "PRETTY_NAME", "=");
  std::erase(distribution, '"');
  return distribution.empty() ? name : name + ", " + distribution;
}

std::string or_unknown(const std::string& text) { return text.empty() ? "unknown" : text; }

}  // namespace

Provenance machine_provenance() {
  const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  utsname system{};
  uname(&system);
  double load = 0;
  getloadavg(&load, 1);
  const auto gibibytes = [](int pages) {
    return static_cast<double>(sysconf(pages)) * static_cast<double>(sysconf(_SC_PAGE_SIZE)) /
           (1 << 30);
  };
  return {{"date", fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(now))},
          {"longattn", LONGATTN_VERSION},
          {"build id", build_id()},
          {"compiler", "GCC-compatible " __VERSION__},
          {"compiler flags", LONGATTN_COMPILER_FLAGS},
          {"build", build_type()},
          {"packages", LONGATTN_PACKAGES},
          {"vector instructions", std::string(kernels::best().target)},
          {"processor", or_unknown(value_in("/proc/cpuinfo", "model name", ": "))},
          {"cores", core_count()},
          {"frequency governor",
           or_unknown(first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))},
          {"memory", fmt::format("{:.1f} GiB", gibibytes(_SC_PHYS_PAGES))},
          {"memory free when started", fmt::format("{:.1f} GiB", gibibytes(_SC_AVPHYS_PAGES))},
          {"transparent huge pages",
           or_unknown(first_line("/sys/kernel/mm/transparent_hugepage/enabled"))},
          {"system", system_name(system)},
          {"load when started", fmt::format("{:.2f}", load)}};
}

}  // namespace longattn

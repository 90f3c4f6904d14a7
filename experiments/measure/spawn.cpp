#include "experiments/measure/spawn.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "core/error.h"
#include "core/io/file.h"
#include "core/io/text.h"
#include "experiments/measure/rank_worker.h"

namespace longattn {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double kGraceSeconds = 1;
constexpr size_t kLogBytes = 4096;
constexpr size_t kOutputBytes = size_t{64} << 20;  // far above any honest result
constexpr double kLauncherGraceSeconds = 8;        // it ends its ranks politely first
constexpr double kStackBytes = 8 << 20;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kLimitsMemory = false;  // their shadow memory alone is terabytes
#else
constexpr bool kLimitsMemory = true;
#endif

[[noreturn]] void fail(const char* what) {
  throw IoError(fmt::format("cannot {}: {}", what, std::strerror(errno)));
}

class Descriptor {
 public:
  explicit Descriptor(int value = -1) : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    reset();
    value_ = std::exchange(other.value_, -1);
    return *this;
  }
  ~Descriptor() { reset(); }
  int get() const { return value_; }
  void reset() {
    if (value_ >= 0) close(value_);
    value_ = -1;
  }

 private:
  int value_;
};

struct Pipe {
  Descriptor read_end, write_end;
};

// Above the descriptors that the child gives a meaning to, so that dup2 never clashes.
Descriptor high_copy(int descriptor) {
  Descriptor copy(fcntl(descriptor, F_DUPFD_CLOEXEC, 10));
  if (copy.get() < 0) fail("copy a descriptor");
  return copy;
}

Pipe make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) fail("make a pipe");
  const Descriptor low_read(ends[0]), low_write(ends[1]);
  return {high_copy(low_read.get()), high_copy(low_write.get())};
}

// The request as a file to read from its beginning: unlike a pipe it takes any length at once, and
// a worker that dies before reading it does no harm.
Descriptor request_file(const std::string& text) {
  const Descriptor low(memfd_create("longattn-request", MFD_CLOEXEC));
  if (low.get() < 0) fail("make a request");
  if (!write_all(low.get(), text)) fail("write a request");
  lseek(low.get(), 0, SEEK_SET);
  return high_copy(low.get());
}

// What a child finds where; -1: nothing.
struct Streams {
  int in, out, err, inputs = -1, result = -1;
};

// A program and its arguments, made before the fork.
struct Program {
  const char* file;
  std::vector<char*> arguments;  // nullptr last
};

// Between fork and exec: system calls alone.
[[noreturn]] void become(const Program& program, const Streams& streams, const rlimit* memory,
                         pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  if (kLimitsMemory && memory != nullptr) setrlimit(RLIMIT_DATA, memory);
  dup2(streams.in, STDIN_FILENO);
  dup2(streams.out, STDOUT_FILENO);
  dup2(streams.err, STDERR_FILENO);
  if (streams.inputs >= 0) dup2(streams.inputs, kWorkerInputs);
  if (streams.result >= 0) dup2(streams.result, kWorkerResult);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) std::signal(signal, SIG_DFL);
  execv(program.file, program.arguments.data());
  _exit(127);
}

// Reads what is there and keeps its last `most` bytes; false at the end of the stream.
bool drain(int descriptor, std::string& target, size_t most) {
  std::array<char, 65536> buffer;
  const ssize_t count = read(descriptor, buffer.data(), buffer.size());
  if (count < 0) return errno == EINTR || errno == EAGAIN;
  target.append(buffer.data(), static_cast<size_t>(count));
  if (target.size() > most) target.erase(0, target.size() - most);
  return count > 0;
}

constexpr std::string_view kError = "longattn: error: ";  // how a rank's reason begins

// What ranks and their launcher say of a failure (MPICH's on standard output), each sentence once:
// errors first, then which process was lost, then what the others waited for; or else the
// launcher's first words.
std::string words_of_ranks(const std::string& log) {
  constexpr size_t kMost = 4;
  std::vector<std::string> errors, lost, others;
  const auto add = [](std::vector<std::string>& to, std::string_view line) {
    if (std::ranges::find(to, line) == to.end()) to.emplace_back(line);
  };
  for (size_t begin = 0; begin < log.size();) {
    const size_t end = std::min(log.find('\n', begin), log.size());
    std::string_view line(log.data() + begin, end - begin);
    begin = end + 1;
    constexpr std::string_view kOurs = "longattn: ";
    if (line.starts_with(kError)) {
      add(errors, line.substr(kError.size()));
    } else if (line.starts_with(kOurs)) {
      add(lost, line.substr(kOurs.size()));
    } else if (line.find("exited on signal") != line.npos ||
               line.find("EXIT STRING: ") != line.npos) {  // Open MPI's words, MPICH's
      lost.emplace(lost.begin(), line);
    } else if (line.find_first_not_of("-= ") != line.npos) {
      add(others, line);
    }
  }
  errors.insert(errors.end(), lost.begin(), lost.end());
  const char* between = errors.empty() ? " " : "; ";
  if (errors.empty()) errors = others;
  std::string text;
  for (size_t n = 0; n < std::min(errors.size(), kMost); ++n) {
    text += (n == 0 ? "" : between) + printable(errors[n]);
  }
  return text;
}

std::string last_line(const std::string& log) {
  const size_t end = log.find_last_not_of("\n ");
  if (end == std::string::npos) return "";
  const size_t begin = log.find_last_of('\n', end);
  return log.substr(begin == std::string::npos ? 0 : begin + 1, end - begin);
}

// How often the kernel has killed a process for memory since it booted; -1 where it does not say.
long system_oom_kills() {
  std::ifstream file("/proc/vmstat");
  std::string name;
  for (long value = 0; file >> name >> value;) {
    if (name == "oom_kill") return value;
  }
  return -1;
}

void classify(int wait_status, bool system_out_of_memory, bool ranks, WorkerOutcome& outcome) {
  if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0) return;
  // bad_alloc where it could not be caught (another thread, a noexcept function) aborts.
  const bool allocation = outcome.log.find("std::bad_alloc") != std::string::npos ||
                          outcome.log.find("longattn: error: out of memory") != std::string::npos;
  if (allocation) {
    outcome.status = Status::oom;
    outcome.reason = "memory limit reached: an allocation failed";
    return;
  }
  if (WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL && system_out_of_memory) {
    outcome.status = Status::oom;
    outcome.reason = "killed by the system, which was out of memory";
    return;
  }
  outcome.status = Status::crash;
  if (WIFSIGNALED(wait_status)) {
    const int signal = WTERMSIG(wait_status);
    outcome.reason = fmt::format("killed by signal {} ({})", signal, strsignal(signal));
    if (signal == SIGKILL) outcome.reason += ", not by this run";
  } else {
    outcome.reason = fmt::format("exit code {}", WEXITSTATUS(wait_status));
  }
  if (ranks) {
    const std::string words = words_of_ranks(outcome.log + "\n" + outcome.output);
    if (words.find("waited in vain") != words.npos) outcome.status = Status::timeout;
    if (!words.empty()) outcome.reason = words;
    return;
  }
  const std::string line = last_line(outcome.log);
  if (!line.empty()) outcome.reason += ": " + printable(line);
}

// Collects output until the child has ended, and ends it at its limits.
class Supervisor {
 public:
  Supervisor(pid_t child, bool ranks, const WorkerLimits& limits, const std::atomic<int>& stop)
      // Not <sys/pidfd.h>: glibc 2.36 forgot extern "C" in it.
      : child_(child),
        process_(static_cast<int>(syscall(SYS_pidfd_open, child, 0))),
        ranks_(ranks),
        limits_(limits),
        stop_(stop) {}

  WorkerOutcome watch(const Pipe& result, const Pipe& log) {
    bool result_open = true, log_open = true, ended = false;
    const auto collect = [&](int wait_ms) {
      std::array<pollfd, 3> fds = {{{ended ? -1 : process_.get(), POLLIN, 0},
                                    {result_open ? result.read_end.get() : -1, POLLIN, 0},
                                    {log_open ? log.read_end.get() : -1, POLLIN, 0}}};
      const int ready = poll(fds.data(), fds.size(), wait_ms);
      if (ready <= 0) return false;
      if (fds[1].revents != 0) {
        result_open = drain(result.read_end.get(), outcome_.output, kOutputBytes);
      }
      if (fds[2].revents != 0)
        log_open = drain(log.read_end.get(), outcome_.log, ranks_ ? 16 * kLogBytes : kLogBytes);
      return true;
    };
    while (!ended) {
      collect(50);  // short, because a signal that sets stop_ may come between check and poll
      ended = has_ended();
      if (!ended) check_limits();
    }
    outcome_.elapsed_s = elapsed();
    // The child is not yet reaped, so its number still names its group and nothing else.
    kill(-child_, SIGKILL);
    int wait_status = 0;
    while (waitpid(child_, &wait_status, 0) < 0 && errno == EINTR) {
    }
    // What is in the pipes, but no more than they can hold: a process that has left the group may
    // hold them open and go on writing.
    for (int n = 0; n < 64 && (result_open || log_open) && collect(0); ++n) {
    }
    judge(wait_status);
    return std::move(outcome_);
  }

 private:
  double elapsed() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

  bool has_ended() const {
    siginfo_t info{};
    return waitid(P_PID, static_cast<id_t>(child_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == child_;
  }

  void judge(int wait_status) {
    if (timed_out_) {
      outcome_.status = Status::timeout;
      outcome_.reason = fmt::format("not done after {:.3g} s, the limit is {:.3g} s",
                                    outcome_.elapsed_s, limits_.time_s);
      if (const std::string words = ranks_ ? words_of_ranks(outcome_.log) : ""; !words.empty()) {
        outcome_.reason += ": " + words;
      }
    } else if (!outcome_.interrupted) {
      classify(wait_status, system_oom_kills() > oom_kills_before_, ranks_, outcome_);
    }
  }

  // A launcher that has lost a host may wait for it for ever, whatever its ranks have said.
  bool launcher_hangs() {
    if (failed_since_ < 0) {
      if (ranks_ && outcome_.log.find(kError) != std::string::npos) failed_since_ = elapsed();
      return false;
    }
    return elapsed() - failed_since_ > kLauncherGraceSeconds;
  }

  void check_limits() {
    if (ending_since_ < 0) {
      timed_out_ = elapsed() > limits_.time_s;
      outcome_.interrupted = stop_.load() != 0 && !timed_out_;
      if (timed_out_ || outcome_.interrupted || launcher_hangs()) {
        kill(-child_, SIGTERM);
        ending_since_ = elapsed();
      }
    } else if (elapsed() - ending_since_ > (ranks_ ? kLauncherGraceSeconds : kGraceSeconds)) {
      kill(-child_, SIGKILL);
    }
  }

  const pid_t child_;
  const Descriptor process_;
  const bool ranks_;
  const WorkerLimits& limits_;
  const std::atomic<int>& stop_;
  const long oom_kills_before_ = system_oom_kills();
  const Clock::time_point begin_ = Clock::now();
  WorkerOutcome outcome_;
  double failed_since_ = -1, ending_since_ = -1;
  bool timed_out_ = false;
};

WorkerOutcome run(const Program& program, const std::string& request, int inputs,
                  const rlimit* memory, bool ranks, const WorkerLimits& limits,
                  const std::atomic<int>& stop) {
  const Descriptor asked = request_file(request);
  Pipe result = make_pipe(), log = make_pipe();
  const Descriptor shared = ranks ? Descriptor() : high_copy(inputs);
  const int words = log.write_end.get(), answer = result.write_end.get();
  // A variant that prints must not reach the table; a launcher hands on what rank 0 prints.
  const Streams streams = ranks ? Streams{asked.get(), answer, words}
                                : Streams{asked.get(), words, words, shared.get(), answer};
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) fail("make a process");
  if (child == 0) become(program, streams, memory, parent);
  setpgid(child, child);  // in both processes, whichever is first
  result.write_end.reset();
  log.write_end.reset();
  return Supervisor(child, ranks, limits, stop).watch(result, log);
}

// Settings for launchers where the user has none: a rank may use all cores of its host, not one.
void add_environment(std::vector<std::string>& words) {
  for (const auto& [name, value] : {std::pair("OMPI_MCA_hwloc_base_binding_policy", "none"),
                                    {"PRTE_MCA_hwloc_default_binding_policy", "none"}}) {
    if (getenv(name) == nullptr) words.push_back(fmt::format("{}={}", name, value));
  }
}

}  // namespace

WorkerOutcome run_worker(const std::string& request, int inputs, const WorkerLimits& limits,
                         const std::atomic<int>& stop) {
  const double bytes = limits.memory_bytes + kStackBytes * limits.threads;
  const rlimit memory{static_cast<rlim_t>(bytes), static_cast<rlim_t>(bytes)};
  char name[] = "longattn", command[] = "__worker";
  return run({"/proc/self/exe", {name, command, nullptr}}, request, inputs, &memory, false, limits,
             stop);
}

Launcher launcher_of(const std::string& text, int ranks) {
  Launcher words;
  std::istringstream stream(text);
  for (std::string word; stream >> word;) {
    constexpr std::string_view kRanks = "{ranks}";
    for (size_t at = 0; (at = word.find(kRanks)) != word.npos;) {
      word.replace(at, kRanks.size(), std::to_string(ranks));
    }
    words.push_back(word);
  }
  return words;
}

WorkerOutcome run_ranks(const std::string& request, const Launcher& launcher,
                        const WorkerLimits& limits, const std::atomic<int>& stop) {
  std::vector<std::string> words = {"env"};
  add_environment(words);
  words.insert(words.end(), launcher.begin(), launcher.end());
  words.push_back(std::filesystem::read_symlink("/proc/self/exe").string());
  words.push_back("__rank");
  Program program{"/usr/bin/env", {}};
  for (std::string& word : words) program.arguments.push_back(word.data());
  program.arguments.push_back(nullptr);
  WorkerOutcome outcome = run(program, request, -1, nullptr, true, limits, stop);
  // Of all that is printed there, the one line that is ours.
  const size_t begin = outcome.output.find(kRankResult);
  std::string line = begin == std::string::npos ? "" : outcome.output.substr(begin);
  line.resize(std::min(line.find('\n'), line.size()));
  outcome.output = line.empty() ? "" : line.substr(kRankResult.size());
  return outcome;
}

}  // namespace longattn

#include "experiments/measure/spawn.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace longattn {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double kGraceSeconds = 2;
constexpr size_t kLogBytes = 4096;
constexpr double kStackBytes = 8 << 20;

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

Pipe make_pipe() {
  int ends[2];
  // Above the descriptors that the child gives a meaning to, so that dup2 never clashes.
  if (pipe2(ends, O_CLOEXEC) != 0) {
    throw IoError(fmt::format("cannot make a pipe: {}", std::strerror(errno)));
  }
  Pipe result;
  result.read_end = Descriptor(fcntl(ends[0], F_DUPFD_CLOEXEC, 10));
  result.write_end = Descriptor(fcntl(ends[1], F_DUPFD_CLOEXEC, 10));
  close(ends[0]);
  close(ends[1]);
  return result;
}

// Between fork and exec: system calls alone.
[[noreturn]] void become_worker(int request, int inputs, int result, int log, const rlimit& memory,
                                pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  setrlimit(RLIMIT_DATA, &memory);
  dup2(request, STDIN_FILENO);
  dup2(log, STDOUT_FILENO);  // a variant that prints must not reach the table
  dup2(log, STDERR_FILENO);
  dup2(inputs, kWorkerInputs);
  dup2(result, kWorkerResult);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) std::signal(signal, SIG_DFL);
  char name[] = "longattn", command[] = "__worker";
  char* arguments[] = {name, command, nullptr};
  execv("/proc/self/exe", arguments);
  _exit(127);
}

// Reads what is there; false at the end of the stream.
bool drain(int descriptor, std::string& target) {
  std::array<char, 65536> buffer;
  const ssize_t count = read(descriptor, buffer.data(), buffer.size());
  if (count < 0) return errno == EINTR || errno == EAGAIN;
  target.append(buffer.data(), static_cast<size_t>(count));
  return count > 0;
}

std::string last_line(const std::string& log) {
  const size_t end = log.find_last_not_of("\n ");
  if (end == std::string::npos) return "";
  const size_t begin = log.find_last_of('\n', end);
  return log.substr(begin == std::string::npos ? 0 : begin + 1, end - begin);
}

void classify(int wait_status, WorkerOutcome& outcome) {
  if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0) return;
  // bad_alloc where it could not be caught (another thread, a noexcept function) aborts.
  if (outcome.log.find("std::bad_alloc") != std::string::npos) {
    outcome.status = Status::oom;
    outcome.reason = "memory limit reached: an allocation failed";
    return;
  }
  outcome.status = Status::crash;
  if (WIFSIGNALED(wait_status)) {
    const int signal = WTERMSIG(wait_status);
    outcome.reason = fmt::format("killed by signal {} ({})", signal, strsignal(signal));
    if (signal == SIGKILL) outcome.reason += ", not by this run; the system may be out of memory";
  } else {
    outcome.reason = fmt::format("exit code {}", WEXITSTATUS(wait_status));
  }
  const std::string line = last_line(outcome.log);
  if (!line.empty()) outcome.reason += ": " + line;
}

// Feeds the request and collects output until the child has exited and its pipes are empty.
class Supervisor {
 public:
  Supervisor(pid_t child, const std::string& request, const WorkerLimits& limits,
             const std::atomic<int>& stop)
      : child_(child), request_(request), limits_(limits), stop_(stop) {}

  WorkerOutcome watch(Pipe& request, Pipe& result, Pipe& log) {
    fcntl(request.write_end.get(), F_SETFL, O_NONBLOCK);
    bool result_open = true, log_open = true;
    while (!exited_ || result_open || log_open) {
      std::array<pollfd, 3> fds = {{{request.write_end.get(), POLLOUT, 0},
                                    {result_open ? result.read_end.get() : -1, POLLIN, 0},
                                    {log_open ? log.read_end.get() : -1, POLLIN, 0}}};
      // Short waits, because the exit itself wakes nobody when a grandchild holds the pipes.
      poll(fds.data(), fds.size(), exited_ ? 0 : 50);
      if (fds[0].revents != 0) feed(request);
      if (fds[1].revents != 0) result_open = drain(result.read_end.get(), outcome_.output);
      if (fds[2].revents != 0) log_open = drain(log.read_end.get(), outcome_.log);
      if (exited_ && fds[1].revents == 0 && fds[2].revents == 0) break;
      check_exit();
      check_limits();
    }
    kill(-child_, SIGKILL);  // whatever it left behind
    outcome_.elapsed_s = elapsed();
    if (outcome_.log.size() > kLogBytes) {
      outcome_.log.erase(0, outcome_.log.size() - kLogBytes);
    }
    if (timed_out_) {
      outcome_.status = Status::timeout;
      outcome_.reason = fmt::format("not done after {:.3g} s, the limit is {:.3g} s",
                                    outcome_.elapsed_s, limits_.time_s);
    } else if (!outcome_.interrupted) {
      classify(wait_status_, outcome_);
    }
    return std::move(outcome_);
  }

 private:
  double elapsed() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

  void feed(Pipe& request) {
    const ssize_t count =
        write(request.write_end.get(), request_.data() + fed_, request_.size() - fed_);
    if (count > 0) fed_ += static_cast<size_t>(count);
    const bool broken = count < 0 && errno != EAGAIN && errno != EINTR;
    if (fed_ == request_.size() || broken) request.write_end.reset();
  }

  void check_exit() {
    if (exited_) return;
    exited_ = waitpid(child_, &wait_status_, WNOHANG) == child_;
  }

  void check_limits() {
    if (exited_) return;
    if (ending_since_ < 0) {
      timed_out_ = elapsed() > limits_.time_s;
      outcome_.interrupted = stop_.load() != 0 && !timed_out_;
      if (timed_out_ || outcome_.interrupted) {
        kill(-child_, SIGTERM);
        ending_since_ = elapsed();
      }
    } else if (elapsed() - ending_since_ > kGraceSeconds) {
      kill(-child_, SIGKILL);
    }
  }

  const pid_t child_;
  const std::string& request_;
  const WorkerLimits& limits_;
  const std::atomic<int>& stop_;
  const Clock::time_point begin_ = Clock::now();
  WorkerOutcome outcome_;
  size_t fed_ = 0;
  int wait_status_ = 0;
  double ending_since_ = -1;
  bool exited_ = false, timed_out_ = false;
};

}  // namespace

WorkerOutcome run_worker(const std::string& request, int inputs, const WorkerLimits& limits,
                         const std::atomic<int>& stop) {
  Pipe request_pipe = make_pipe(), result_pipe = make_pipe(), log_pipe = make_pipe();
  const Descriptor shared(fcntl(inputs, F_DUPFD_CLOEXEC, 10));
  const double bytes = limits.memory_bytes + kStackBytes * limits.threads;
  const rlimit memory{static_cast<rlim_t>(bytes), static_cast<rlim_t>(bytes)};
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) throw IoError(fmt::format("cannot make a process: {}", std::strerror(errno)));
  if (child == 0) {
    become_worker(request_pipe.read_end.get(), shared.get(), result_pipe.write_end.get(),
                  log_pipe.write_end.get(), memory, parent);
  }
  setpgid(child, child);  // in both processes, whichever is first
  request_pipe.read_end.reset();
  result_pipe.write_end.reset();
  log_pipe.write_end.reset();
  return Supervisor(child, request, limits, stop).watch(request_pipe, result_pipe, log_pipe);
}

}  // namespace longattn

#include "experiments/measure/rank_worker.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <iostream>
#include <iterator>
#include <new>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/error.h"
#include "core/io/file.h"
#include "experiments/exit_codes.h"
#include "experiments/measure/guarded_output.h"
#include "experiments/measure/rank_passes.h"
#include "experiments/measure/worker.h"
#include "experiments/serialize.h"
#include "variants/ring/mpi_communicator.h"
#include "variants/ring/ring.h"

namespace longattn {
namespace {

using nlohmann::json;

// Of the pass that is running; -1: none is.
std::atomic<int> at_step = -1;

// Whoever takes it may use it: this rank at its end, or the thread that hears of a launcher's.
std::atomic<Communicator*> joined = nullptr;

// A launcher ends the other ranks when it has lost one. What they waited for tells where it was.
void await_end() {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  int signal = 0;
  if (sigwait(&ends, &signal) != 0) return;
  if (const Communicator* communicator = joined.exchange(nullptr)) {
    const int step = at_step;
    fmt::print(stderr, "longattn: rank {} was told to end{}{}\n", communicator->rank(),
               step < 0 ? "" : fmt::format(" in step {} of {}", step, communicator->size()),
               communicator->pending());
  }
  std::fflush(nullptr);
  _exit(kExitTerminated);
}

// Not exit(): MPI cannot be ended in order any more, and threads still run.
[[noreturn]] void end_with(int code) {
  std::fflush(nullptr);
  _exit(code);
}

[[noreturn]] void fail(Communicator& communicator, const std::string& reason) {
  const std::string sentence = fmt::format("rank {}: {}", communicator.rank(), reason);
  fmt::print(stderr, "longattn: error: {}\n", sentence);
  std::fflush(nullptr);
  communicator.abort(sentence);
  end_with(kExitInternal);
}

void serve(std::span<const Variant* const> variants, Communicator& communicator, int result) {
  std::string text;
  if (communicator.rank() == 0) text.assign(std::istreambuf_iterator<char>(std::cin), {});
  const WorkerRequest request = request_from(broadcast(communicator, text, in_seconds(60)));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they map terabytes
  const auto bytes = static_cast<rlim_t>(request.memory_bytes);
  const rlimit memory{bytes, bytes};
  setrlimit(RLIMIT_DATA, &memory);
#endif
  const json answer =
      rank_answer(request, require_variant(variants, request.cell.variant), communicator, at_step);
  if (communicator.rank() != 0) return;
  const std::string line =
      std::string(kRankResult) + answer.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  if (!write_all(result, line)) throw IoError("rank 0 cannot write its result");
}

}  // namespace

int process_count(const Cell& cell) {
  if (cell.variant != kRing.name) return 0;
  return process_count(cell.variant, Options(kRing.options, cell.options));
}

int serve_rank(std::span<const Variant* const> variants) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // a launcher that is killed takes its ranks along
  const int result = dup(STDOUT_FILENO);
  dup2(STDERR_FILENO, STDOUT_FILENO);  // what anyone prints must not look like a result
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);  // in every thread but the one that waits for it
  auto communicator = start_mpi();
  joined = communicator.get();
  std::jthread(await_end).detach();
  try {
    serve(variants, *communicator, result);
  } catch (const CommunicatorError& error) {  // the others say the same
    fmt::print(stderr, "longattn: error: {}\n", error.what());
    end_with(kExitInternal);
  } catch (const std::bad_alloc&) {
    fail(*communicator, "out of memory");
  } catch (const std::exception& error) {
    fail(*communicator, error.what());
  }
  close(result);
  if (joined.exchange(nullptr) == nullptr) pause();  // told to end: that thread does it
  communicator.reset();
  end_with(kExitOk);
}

}  // namespace longattn

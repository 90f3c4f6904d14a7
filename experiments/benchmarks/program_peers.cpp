#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "core/error.h"
#include "experiments/benchmarks/gate.h"
#include "experiments/benchmarks/peers.h"
#include "experiments/benchmarks/suite.h"
#include "variants/blockwise.h"

namespace longattn::benchmarks {
namespace {

constexpr int kPatienceMs = 120'000;

// Memory that another process opens by name, freed with the last who holds it.
class SharedFile {
 public:
  explicit SharedFile(Index size)
      : descriptor_(memfd_create("longattn-peer", MFD_CLOEXEC)), size_(static_cast<size_t>(size)) {
    void* data = MAP_FAILED;
    if (descriptor_ >= 0 && ftruncate(descriptor_, size) == 0) {
      data = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_, 0);
    }
    if (data == MAP_FAILED) throw IoError(fmt::format("no memory to share: {}", strerror(errno)));
    data_ = static_cast<std::byte*>(data);
  }
  ~SharedFile() {
    munmap(data_, size_);
    close(descriptor_);
  }
  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;
  std::byte* data() { return data_; }
  std::string path() const { return fmt::format("/proc/{}/fd/{}", getpid(), descriptor_); }

 private:
  int descriptor_;
  size_t size_;
  std::byte* data_ = nullptr;
};

class ProgramSubject final : public Subject {
 public:
  ProgramSubject(std::shared_ptr<PeerProgram> program, const Problem& problem, int threads)
      : program_(std::move(program)),
        full_(make_attention(kBlockwise, problem, Options(kBlockwise.options))),
        threads_(threads) {}

  Work work() const override { return dense_work(full_->problem()); }
  std::string label() const override { return label_; }

  // Hands over the problem unless the program still holds it.
  void prepare() override {
    if (program_->running() && program_->current == this) return;
    hand_over();
  }
  double run() override {
    prepare();
    const std::string answer = program_->ask("run");
    const double seconds = std::strtod(answer.c_str(), nullptr);
    if (!(seconds > 0)) throw DataError(fmt::format("no time: \"{}\"", answer));
    return seconds;
  }
  std::string refusal() override {
    const Problem& p = full_->problem();
    const std::unique_ptr<SharedFile> file = hand_over();
    program_->ask("run");
    program_->ask("output");
    const InputTensors& tensors = shared_inputs(p);
    const Inputs inputs = {tensors.queries.view(), tensors.keys.view(), tensors.values.view(), {}};
    const std::array<Index, 4> shape = {p.batch, p.num_heads, p.query_len, p.value_dim};
    const ConstTensorView output = {file->data() + 3 * tensors.queries.bytes(), DType::float32,
                                    shape, dense_strides(shape)};
    return benchmarks::refusal(*full_, inputs, output,
                               p.dtype == DType::float32 ? kFloatBound : kBfloat16Bound);
  }

 private:
  std::unique_ptr<SharedFile> hand_over() {
    const Problem& p = full_->problem();
    const InputTensors& tensors = shared_inputs(p);
    const Index bytes = tensors.queries.bytes();
    auto file = std::make_unique<SharedFile>(3 * bytes + tensors.queries.size() *
                                                             static_cast<Index>(sizeof(float)));
    std::byte* target = file->data();
    for (const Tensor* tensor : {&tensors.queries, &tensors.keys, &tensors.values}) {
      target = std::copy_n(tensor->bytes_begin(), bytes, target);
    }
    program_->current = nullptr;
    label_ = program_->ask(fmt::format("problem {} {} {} {} {:d} {} {}", file->path(), p.key_len,
                                       p.num_heads, p.head_dim, p.mask.causal, threads_,
                                       to_string(p.dtype)));
    program_->current = this;
    return file;
  }

  std::shared_ptr<PeerProgram> program_;
  std::unique_ptr<const Attention> full_;
  int threads_;
  std::string label_;
};

}  // namespace

void PeerProgram::start() {
  std::vector<char*> arguments;
  for (std::string& word : command_) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  int down[2], up[2];
  if (pipe2(down, O_CLOEXEC) != 0 || pipe2(up, O_CLOEXEC) != 0) throw IoError("no pipe");
  std::signal(SIGPIPE, SIG_IGN);  // a program that has died is an error of the write
  const pid_t parent = getpid();
  child_ = fork();
  if (child_ < 0) throw IoError("no process");
  if (child_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    dup2(down[0], STDIN_FILENO);
    dup2(up[1], STDOUT_FILENO);
    dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  close(down[0]);
  close(up[1]);
  to_ = down[1];
  from_ = up[0];
}

void PeerProgram::stop() {
  if (child_ <= 0) return;
  kill(child_, SIGKILL);
  while (waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
  }
  close(to_);
  close(from_);
  child_ = -1;
}

std::string PeerProgram::ask(const std::string& line) {
  if (!running()) start();
  const auto give_up = [&](const std::string& why) {
    stop();
    const std::string name = std::filesystem::path(command_.back()).filename().string();
    throw DataError(fmt::format("{} {}", name, why));
  };
  const std::string sent = line + "\n";
  if (write(to_, sent.data(), sent.size()) != static_cast<ssize_t>(sent.size())) {
    give_up("has ended");
  }
  std::string answer;
  while (answer.empty() || answer.back() != '\n') {
    pollfd waiting = {from_, POLLIN, 0};
    const int ready = poll(&waiting, 1, kPatienceMs);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) give_up("does not answer");
    char buffer[4096];
    const ssize_t count = read(from_, buffer, sizeof buffer);
    if (count <= 0) give_up("has ended");
    answer.append(buffer, static_cast<size_t>(count));
  }
  answer.pop_back();
  if (answer.starts_with("error: ")) give_up(answer);
  return answer;
}

std::unique_ptr<Subject> make_program_subject(std::shared_ptr<PeerProgram> program,
                                              const Problem& problem, int threads) {
  return std::make_unique<ProgramSubject>(std::move(program), problem, threads);
}

}  // namespace longattn::benchmarks

#include "experiments/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace longattn {
namespace {

bool draws_on_terminal() {
  const char* kind = std::getenv("TERM");
  return isatty(STDERR_FILENO) != 0 && kind != nullptr && *kind != '\0' &&
         std::strcmp(kind, "dumb") != 0;
}

size_t terminal_columns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

constexpr const char* kClearLine = "\r\x1b[K";

}  // namespace

void say(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stderr); }

Progress::Progress(Index steps) : steps_(steps), terminal_(draws_on_terminal()) {}

void Progress::begin(const std::string& what) {
  what_ = what;
  draw();
}

void Progress::done() {
  ++done_;
  if (!terminal_ && steps_ > 0 && done_ * 10 / steps_ > tenths_) {
    tenths_ = done_ * 10 / steps_;
    say(fmt::format("{}/{} measurements{}\n", done_, steps_, left()));
  }
  draw();
}

void Progress::drop(Index steps) { steps_ -= steps; }

void Progress::note(const std::string& message) {
  if (terminal_) say(kClearLine);
  say(message + "\n");
  draw();
}

void Progress::finish() {
  if (terminal_) say(kClearLine);
}

std::string Progress::left() const {
  if (done_ == 0 || done_ >= steps_) return "";
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin_;
  const double seconds =
      elapsed.count() / static_cast<double>(done_) * static_cast<double>(steps_ - done_);
  return seconds < 90 ? fmt::format(", about {:.0f} s left", seconds)
                      : fmt::format(", about {:.0f} min left", seconds / 60);
}

void Progress::draw() {
  if (!terminal_) return;
  std::string line = fmt::format("{}/{}{}  {}", done_, steps_, left(), what_);
  line.resize(std::min(line.size(), terminal_columns() - 1));
  say(kClearLine + line);
  std::fflush(stderr);
}

}  // namespace longattn

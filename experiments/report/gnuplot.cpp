#include "experiments/report/gnuplot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <span>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/io/file.h"
#include "core/io/text.h"
#include "experiments/report/looks.h"
#include "experiments/report/text.h"

extern char** environ;  // POSIX leaves its declaration to the program

namespace longattn {
namespace {

// A file without a name that takes what gnuplot prints.
class Log {
 public:
  Log() : descriptor_(memfd_create("gnuplot", MFD_CLOEXEC)) {
    if (descriptor_ < 0) {
      throw IoError(fmt::format("gnuplot: no file for its messages: {}", std::strerror(errno)));
    }
  }
  ~Log() { ::close(descriptor_); }
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  int descriptor() const { return descriptor_; }
  std::string end() const {
    const off_t size = lseek(descriptor_, 0, SEEK_END);
    std::string text(static_cast<size_t>(std::clamp<off_t>(size, 0, 600)), ' ');
    const ssize_t got =
        pread(descriptor_, text.data(), text.size(), size - static_cast<off_t>(text.size()));
    text.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
    std::ranges::replace(text, '\n', ' ');
    return printable(text);
  }

 private:
  int descriptor_;
};

// The environment without what changes how gnuplot reads and writes.
std::vector<std::string> clean_environment() {
  std::vector<std::string> variables = {"LC_ALL=C.UTF-8"};
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    const bool changes = text.starts_with("LC_") || text.starts_with("LANG") ||
                         text.starts_with("GNUPLOT_") || text.starts_with("GNUTERM");
    if (!changes) variables.emplace_back(text);
  }
  return variables;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

pid_t spawn(const std::string& folder, const std::string& script, const Log& log) {
  std::vector<std::string> arguments = {"gnuplot", "-d", script};
  std::vector<std::string> environment = clean_environment();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, log.descriptor(), 1);
  posix_spawn_file_actions_adddup2(&actions, log.descriptor(), 2);
  pid_t child = -1;
  const int error = posix_spawnp(&child, "gnuplot", &actions, nullptr, pointers(arguments).data(),
                                 pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT) {
    throw IoError("gnuplot: not found; it draws the plots (apt-get install gnuplot-nox)");
  }
  if (error != 0) throw IoError(fmt::format("gnuplot: cannot start: {}", std::strerror(error)));
  return child;
}

// Its exit status; kills it at the time limit and then throws.
int wait_for(pid_t child, double limit_s) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(limit_s);
  int status = 0;
  for (;;) {
    const pid_t ended = waitpid(child, &status, WNOHANG);
    if (ended == child) return status;
    if (ended < 0 && errno != EINTR) {
      throw IoError(fmt::format("gnuplot: lost: {}", std::strerror(errno)));
    }
    if (std::chrono::steady_clock::now() >= end) {
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      throw IoError(fmt::format("gnuplot: took longer than {:.0f} s and was ended", limit_s));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
}

// Runs of white space as one space each.
std::string squeezed(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const bool white = c == ' ' || c == '\n' || c == '\t';
    if (!white) {
      result += c;
    } else if (result.empty() || result.back() != ' ') {
      result += ' ';
    }
  }
  return result;
}

// "rgb( 51,  51, 51)" as "#333333".
void shorten_colours(std::string& tag) {
  for (size_t at = 0; (at = tag.find("rgb(", at)) != std::string::npos; ++at) {
    unsigned red = 0, green = 0, blue = 0;
    int read = 0;
    if (std::sscanf(tag.c_str() + at, "rgb(%u ,%u ,%u)%n", &red, &green, &blue, &read) != 3)
      continue;
    if (read == 0 || std::max({red, green, blue}) > 255) continue;
    tag.replace(at, static_cast<size_t>(read),
                fmt::format("#{:02x}{:02x}{:02x}", red, green, blue));
  }
}

bool is_digit(char c) { return '0' <= c && c <= '9'; }

// Hundredths of a pixel, which is what gnuplot writes, to tenths.
void round_coordinates(std::string& tag) {
  for (size_t dot = 0; (dot = tag.find('.', dot + 1)) != std::string::npos;) {
    size_t begin = dot, end = dot + 1;
    while (begin > 0 && is_digit(tag[begin - 1])) --begin;
    while (end < tag.size() && is_digit(tag[end])) ++end;
    if (begin == dot || end - dot != 3) continue;
    const long hundredths = std::strtol(tag.substr(begin, dot - begin).c_str(), nullptr, 10) * 100 +
                            std::strtol(tag.substr(dot + 1, 2).c_str(), nullptr, 10);
    const long tenths = (hundredths + 5) / 10;
    tag.replace(begin, end - begin,
                tenths % 10 == 0 ? fmt::format("{}", tenths / 10)
                                 : fmt::format("{}.{}", tenths / 10, tenths % 10));
  }
}

void erase_ids(std::string& tag) {
  for (size_t at; (at = tag.find(" id=")) != std::string::npos;) {
    const size_t end = tag.find(tag[at + 4], at + 5);
    if (end == std::string::npos) return;
    tag.erase(at, end + 1 - at);
  }
}

std::string themed_tag(std::string tag) {
  erase_ids(tag);
  shorten_colours(tag);
  replace_all(tag, " color=\"black\"", "");  // of gnuplot's groups: the page's colour goes through
  replace_all(tag, kInk, "currentColor");
  replace_all(tag, " stroke-linecap=\"butt\" stroke-linejoin=\"miter\"", "");
  replace_all(tag, " fill=\"none\" stroke=\"currentColor\"", " class=\"gs\"");
  replace_all(tag, " stroke=\"none\" fill=\"currentColor\" font-family=\"Helvetica\"",
              " class=\"gl\"");
  replace_all(tag, " stroke='currentColor'", "");  // as its group's
  replace_all(tag, "stroke='#e4e4e4' class=\"gridline\"", "class=\"gridline\"");
  replace_all(tag, " '", "'");
  replace_all(tag, " >", ">");
  if (tag.starts_with("<path") || tag.starts_with("<use") || tag.starts_with("<g transform")) {
    round_coordinates(tag);
  }
  return tag;
}

// Takes <defs> out of the drawing, gives its ids a name that tells the content, and makes the
// drawing refer to these.
std::string take_signs(std::string& text) {
  constexpr std::string_view kBegin = "<defs>", kEnd = "</defs>", kSign = "gpPt", kDot = "gpDot";
  const size_t begin = text.find(kBegin), end = text.find(kEnd);
  if (begin == std::string::npos || end == std::string::npos || end < begin) return "";
  std::string signs = squeezed(text.substr(begin, end + kEnd.size() - begin));
  text.erase(begin, end + kEnd.size() - begin);
  replace_all(signs, " <", "<");
  const std::string name = fmt::format("{:04x}", XXH3_64bits(signs.data(), signs.size()) & 0xffff);
  for (std::string* part : {&signs, &text}) {
    replace_all(*part, kSign, name + "-");
    replace_all(*part, kDot, name + "-dot");
    replace_all(*part, "xlink:href", "href");
  }
  return signs;
}

void erase_element(std::string& text, const std::string& name) {
  const size_t begin = text.find("<" + name + ">"), end = text.find("</" + name + ">");
  if (begin != std::string::npos && end != std::string::npos && begin < end) {
    text.erase(begin, end + name.size() + 3 - begin);
  }
}

// Boxes behind labels, of which our figures have none.
void erase_filters(std::string& text) {
  constexpr std::string_view kEnd = "</filter>";
  for (size_t begin; (begin = text.find("<filter")) != std::string::npos;) {
    const size_t end = text.find(kEnd, begin);
    if (end == std::string::npos) return;
    text.erase(begin, end + kEnd.size() - begin);
  }
}

// The tags of a drawing, of which most are groups that gnuplot opens anew for each stroke: what
// opens the same group again right behind its end goes on in it, and an empty group is no group.
class Tags {
 public:
  void add(std::string tag) {
    if (tag.starts_with("<g ") || tag == "<g>") {
      if (!ended_.empty() && ended_ == tag) {
        tags_.pop_back();  // its end
      } else {
        tags_.push_back(tag);
      }
      open_.push_back(std::move(tag));
      ended_.clear();
    } else if (tag == "</g>" && !open_.empty()) {
      ended_ = std::move(open_.back());
      open_.pop_back();
      if (tags_.back() == ended_) {
        tags_.pop_back();
        ended_.clear();
      } else {
        tags_.push_back(std::move(tag));
      }
    } else {
      tags_.push_back(std::move(tag));
      ended_.clear();
    }
  }
  std::string text() const {
    std::string result;
    for (const std::string& tag : tags_) result += tag;
    return result;
  }

 private:
  std::vector<std::string> tags_, open_;
  std::string ended_;  // what opened the group that ended last; empty: something came behind it
};

}  // namespace

void run_gnuplot(const std::string& folder, const std::string& script, double limit_s) {
  const Log log;
  const int status = wait_for(spawn(folder, script, log), limit_s);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    throw IoError(fmt::format("gnuplot: {} failed: {}", script, log.end()));
  }
}

DrawingFolder::DrawingFolder(std::string target)
    : target_(std::move(target)), path_(fmt::format("{}/.drawing-{}", target_, ::getpid())) {
  std::error_code error;
  std::filesystem::create_directories(path_, error);
  if (error) throw CreateError(fmt::format("{}: cannot create: {}", path_, error.message()));
}

DrawingFolder::~DrawingFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

// gnuplot does not notice a full disk.
void DrawingFolder::require_whole(const std::string& name) const {
  const std::filesystem::path path = path_ + "/" + name;
  const bool svg = path.extension() == ".svg";
  if (!svg && path.extension() != ".pdf") return;
  const InputFile file(path);
  std::string end(static_cast<size_t>(std::min<Index>(file.size(), 16)), ' ');
  file.read(file.size() - static_cast<Index>(end.size()), std::as_writable_bytes(std::span(end)));
  if (end.find(svg ? "</svg>" : "%%EOF") != std::string::npos) return;
  std::error_code ignored;
  const std::uintmax_t free = std::filesystem::space(target_, ignored).available;
  throw IoError(fmt::format("gnuplot: {}/{}: not written whole: {} bytes ({} bytes free)",
                            printable(target_), name, file.size(), ignored ? 0 : free));
}

void DrawingFolder::publish(const std::string& name, const std::string& as) const {
  require_whole(name);
  std::error_code error;
  std::filesystem::rename(path_ + "/" + name, target_ + "/" + as, error);
  if (error) throw IoError(fmt::format("{}/{}: cannot write: {}", target_, as, error.message()));
}

std::string data_text(std::string_view text) {
  std::string result = one_line(text);
  replace_all(result, "\"", "”");
  return result;
}

InlineSvg inline_svg(const std::string& svg, const std::string& description) {
  std::string text = svg.substr(std::min(svg.find("<svg"), svg.size()));
  erase_element(text, "title");  // the first ones, of the file
  erase_element(text, "desc");
  erase_filters(text);
  InlineSvg result;
  result.signs = take_signs(text);
  Tags tags;
  // Labels stand between tags, where they stay as they are. gnuplot escapes "<" in labels.
  for (std::string_view rest = text; !rest.empty();) {
    const size_t open = std::min(rest.find('<'), rest.size());
    const std::string_view label = rest.substr(0, open);
    if (label.find_first_not_of(" \n\t") != std::string_view::npos) tags.add(std::string(label));
    rest.remove_prefix(open);
    if (rest.empty()) break;
    const size_t close = rest.find('>');
    if (close == std::string_view::npos) throw IoError("gnuplot: a drawing ends within a tag");
    tags.add(themed_tag(squeezed(rest.substr(0, close + 1))));
    rest.remove_prefix(close + 1);
  }
  result.drawing = tags.text();
  if (result.drawing.starts_with("<svg")) {
    result.drawing.insert(4, " role=\"img\" aria-label=\"" + html(description) + "\"");
  }
  return result;
}

}  // namespace longattn

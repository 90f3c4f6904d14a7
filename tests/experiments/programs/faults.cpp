// Loaded into the tool by LD_PRELOAD: makes the system fail where a test wants it to. The
// environment variable LONGATTN_FAULT says how, as "<what> <number>"; a journal write is a write()
// to a file named journal.jsonl, counted from one in each process.
//
//   kill N         SIGKILL instead of the N-th journal write
//   torn N         SIGKILL after half of the N-th journal write
//   full N         from the N-th journal write on: half of it is written, then ENOSPC
//   broken N, quota N   the same with EIO, with EDQUOT
//   file N, files N     the N-th write to a file that is renamed into place when it is whole, and
//                       all further ones, fail with EIO, with EDQUOT
//   unmade 0       SIGKILL when memory for inputs is made
//   pieces 0       journal writes take seven bytes at a time, and every other one is interrupted
//   unsynced N     the N-th fdatasync fails
//   head 0         SIGKILL when a file is renamed into place
//   unlockable 0   the file system has no locks
//   backwards 0    every look at the wall clock finds it an hour earlier
//   frozen 0       the wall clock stands still
#include <dlfcn.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

struct Fault {
  char what[16] = "";
  int number = 0;
};

const Fault& fault() {
  static const Fault chosen = [] {
    Fault f;
    const char* text = std::getenv("LONGATTN_FAULT");
    if (text != nullptr) std::sscanf(text, "%15s %d", f.what, &f.number);
    return f;
  }();
  return chosen;
}

bool is(const char* what) { return std::strcmp(fault().what, what) == 0; }

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

bool is_named(int descriptor, const char* ending) {
  char target[4096];
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  const ssize_t size = readlink(link.c_str(), target, sizeof target);
  return size > 0 && std::string(target, static_cast<size_t>(size)).ends_with(ending);
}

// What a disk says from some write on; 0: nothing.
int error_of_disk() {
  if (is("full")) return ENOSPC;
  return is("broken") || is("file") ? EIO : is("quota") || is("files") ? EDQUOT : 0;
}

int fail(int error) {
  errno = error;
  return -1;
}

}  // namespace

extern "C" {

ssize_t write(int descriptor, const void* data, size_t size) {
  static const auto real = next<ssize_t(int, const void*, size_t)>("write");
  static std::atomic<int> writes{0};
  if (is("file") || is("files")) {
    if (!is_named(descriptor, ".tmp") || ++writes < fault().number) {
      return real(descriptor, data, size);
    }
    return fail(error_of_disk());
  }
  if (fault().what[0] == '\0' || !is_named(descriptor, "/journal.jsonl")) {
    return real(descriptor, data, size);
  }
  const int number = ++writes;
  if (is("kill") && number == fault().number) raise(SIGKILL);
  if (is("torn") && number == fault().number) {
    real(descriptor, data, size / 2);
    raise(SIGKILL);
  }
  if (error_of_disk() != 0 && number == fault().number) return real(descriptor, data, size / 2);
  if (error_of_disk() != 0 && number > fault().number) return fail(error_of_disk());
  if (is("pieces")) {
    return number % 2 == 0 ? fail(EINTR) : real(descriptor, data, size < 7 ? size : 7);
  }
  return real(descriptor, data, size);
}

int fdatasync(int descriptor) {
  static const auto real = next<int(int)>("fdatasync");
  static std::atomic<int> calls{0};
  if (is("unsynced") && ++calls == fault().number) return fail(EIO);
  return real(descriptor);
}

int memfd_create(const char* name, unsigned flags) noexcept {
  static const auto real = next<int(const char*, unsigned)>("memfd_create");
  if (is("unmade") && std::strcmp(name, "longattn-inputs") == 0) raise(SIGKILL);
  return real(name, flags);
}

int rename(const char* from, const char* to) noexcept {
  static const auto real = next<int(const char*, const char*)>("rename");
  if (is("head")) raise(SIGKILL);
  return real(from, to);
}

int flock(int descriptor, int operation) noexcept {
  static const auto real = next<int(int, int)>("flock");
  return is("unlockable") ? fail(ENOLCK) : real(descriptor, operation);
}

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  static const auto real = next<int(clockid_t, timespec*)>("clock_gettime");
  const int result = real(clock, time);
  if (clock != CLOCK_REALTIME) return result;
  static std::atomic<int> hours{0};
  if (is("backwards")) time->tv_sec -= 3600 * ++hours;
  if (is("frozen")) *time = {1700000000, 0};
  return result;
}

}  // extern "C"

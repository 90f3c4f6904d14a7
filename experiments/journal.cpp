#include "experiments/journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "core/error.h"
#include "core/io/file.h"
#include "core/io/text.h"

namespace longattn {
namespace {

constexpr int kSchemaVersion = 1;
constexpr Index kLargestJournal = Index{1} << 31;
constexpr std::string_view kSeal = ",\"crc\":\"";
constexpr size_t kSealed = 8 + 8 + 2;  // kSeal, eight digits, closing quote and brace

std::string checksum(std::string_view text) {
  return fmt::format("{:08x}", XXH32(text.data(), text.size(), 0));
}

// `begin`: where in the file the line begins, for who wants to look at its bytes.
nlohmann::json open_line(std::string_view line, const std::string& path, Index number,
                         size_t begin) {
  const auto damaged = [&](std::string_view what) {
    return DataError(fmt::format("{}:{}: damaged record: {} ({} bytes at offset {})", path, number,
                                 printable(what), line.size(), begin));
  };
  if (line.size() < kSealed + 2 || line.substr(line.size() - kSealed, kSeal.size()) != kSeal) {
    throw damaged("no checksum at its end");
  }
  const std::string text = std::string(line.substr(0, line.size() - kSealed)) + "}";
  const std::string_view found = line.substr(line.size() - kSealed + kSeal.size(), 8);
  const std::string expected = checksum(text);
  if (found != expected || !line.ends_with("\"}")) {
    throw damaged(fmt::format("its checksum is {}, its text gives {}", found, expected));
  }
  nlohmann::json record = nlohmann::json::parse(text, nullptr, false);
  if (!record.is_object() || !record.contains("kind")) throw damaged("not a journal record");
  return record;
}

struct Extent {
  size_t whole = 0, size = 0;  // bytes up to the end of the last whole record, and of the file
};

// Calls visit for the whole records.
Extent read_records(const std::string& file, const Journal::Visit& visit) {
  const std::string text = read_text(file, kLargestJournal), path = printable(file);
  if (text.empty()) throw DataError(fmt::format("{}: empty, expected a journal", path));
  Index number = 0;
  size_t begin = 0;
  for (size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const nlohmann::json record =
        open_line(std::string_view(text).substr(begin, end - begin), path, ++number, begin);
    if (number > 1) {
      try {
        visit(record);
      } catch (const std::exception& error) {
        throw DataError(fmt::format("{}:{}: {}", path, number, printable(error.what())));
      }
      continue;
    }
    if (record["kind"] != "header" || !record.contains("schema_version")) {
      throw DataError(fmt::format("{}:1: not a journal: no header", path));
    }
    if (record["schema_version"] != kSchemaVersion) {
      throw DataError(fmt::format("{}:1: schema version {}, this program reads {}", path,
                                  printable(record["schema_version"].dump()), kSchemaVersion));
    }
  }
  return {begin, text.size()};
}

}  // namespace

std::string journal_line(const nlohmann::json& record) {
  const std::string text = record.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return text.substr(0, text.size() - 1) + std::string(kSeal) + checksum(text) + "\"}\n";
}

Journal::Journal(std::string path) : path_(std::move(path)) {
  descriptor_ = open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (descriptor_ < 0) {
    throw CreateError(fmt::format("{}: cannot open: {}", printable(path_), std::strerror(errno)));
  }
}

Journal::~Journal() {
  if (descriptor_ >= 0) close(descriptor_);
}

Journal::Journal(Journal&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      was_torn_(other.was_torn_) {}

Journal Journal::create(std::string path, const std::vector<nlohmann::json>& head) {
  if (std::filesystem::exists(path)) {
    throw CreateError(fmt::format("{}: cannot create: it exists", printable(path)));
  }
  std::string text = journal_line({{"kind", "header"}, {"schema_version", kSchemaVersion}});
  for (const nlohmann::json& record : head) text += journal_line(record);
  write_text(path, text);
  return Journal(std::move(path));
}

Journal Journal::resume(std::string path) {
  const Extent extent = read_records(path, [](const nlohmann::json&) {});
  Journal journal(std::move(path));
  journal.was_torn_ = extent.whole < extent.size;
  if (journal.was_torn_ && ftruncate(journal.descriptor_, static_cast<off_t>(extent.whole)) != 0) {
    throw IoError(fmt::format("{}: cannot cut off its torn last line: {}", printable(journal.path_),
                              std::strerror(errno)));
  }
  return journal;
}

void Journal::append(const nlohmann::json& record) {
  const std::string line = journal_line(record);
  const off_t before = lseek(descriptor_, 0, SEEK_END);
  if (write_all(descriptor_, line) && fdatasync(descriptor_) == 0) return;
  const int error = errno;
  const bool cut = ftruncate(descriptor_, before) == 0;
  struct statvfs disk {};
  const double free_bytes =
      fstatvfs(descriptor_, &disk) == 0
          ? static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize)
          : 0;
  throw IoError(fmt::format("{}: cannot append a record of {} bytes: {} ({:.0f} bytes free){}",
                            printable(path_), line.size(), std::strerror(error), free_bytes,
                            cut ? "" : "; the last line may be torn"));
}

bool read_journal(const std::string& path, const Journal::Visit& visit) {
  const Extent extent = read_records(path, visit);
  return extent.whole == extent.size;
}

}  // namespace longattn

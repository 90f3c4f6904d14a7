#include "core/io/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "core/error.h"
#include "core/io/text.h"
#include "tests/temporary_folder.h"

namespace longattn {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

template <class Exception>
std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Exception& error) {
    return error.what();
  }
  ADD_FAILURE() << "not thrown";
  return "";
}

TEST(File, OnlyRegularFilesAreOpened) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  for (const std::string& path : {folder.path(), std::string("/dev/zero"), folder / "pipe"}) {
    EXPECT_EQ(message_of<IoError>([&] { InputFile file(path); }), path + ": not a regular file");
  }
  const std::string missing = folder / "no";
  EXPECT_THAT(message_of<IoError>([&] { InputFile file(missing); }),
              StartsWith(missing + ": cannot open: No such file"));
}

TEST(File, ReadingPastAFileThatHasShrunkIsADataError) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a", "0123456789");
  const InputFile file(path);
  EXPECT_EQ(file.size(), 10);
  ASSERT_EQ(::truncate(path.c_str(), 4), 0);
  std::array<std::byte, 10> bytes{};
  EXPECT_EQ(message_of<DataError>([&] { file.read(0, bytes); }),
            path + ": end of file, expected 6 more bytes at byte 4, found none");
  file.read(1, std::span(bytes).first(3));
  EXPECT_EQ(bytes[2], std::byte{'3'});
}

TEST(File, TextLargerThanTheLimitIsRefusedUnread) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a", "12345");
  EXPECT_EQ(read_text(path, 5), "12345");
  EXPECT_THAT(message_of<DataError>([&] { read_text(path, 4); }),
              HasSubstr("expected at most 4 bytes, found 5"));
}

TEST(File, AnAtomicFileAppearsOnlyWhenCommitted) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a", "old");
  {
    AtomicFile file(path);
    file.write("new");
    EXPECT_EQ(read_text(path, 100), "old");
    EXPECT_EQ(folder.entries(), 2);  // the temporary file is in the same folder
  }
  EXPECT_EQ(read_text(path, 100), "old");
  EXPECT_EQ(folder.entries(), 1);
  {
    AtomicFile file(path);
    file.write("new");
    file.write("er");
    file.commit();
  }
  EXPECT_EQ(read_text(path, 100), "newer");
  EXPECT_EQ(folder.entries(), 1);
}

TEST(File, TheUmaskDecidesThePermissions) {
  const TemporaryFolder folder;
  const mode_t before = ::umask(027);
  write_text(folder / "a", "x");
  ::umask(before);
  struct stat status;
  ASSERT_EQ(::stat((folder / "a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640u);
}

TEST(File, ALinkIsFollowedAndStaysALink) {
  const TemporaryFolder folder;
  folder.file("target", "old");
  std::filesystem::create_symlink("target", folder / "link");
  write_text(folder / "link", "new");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_EQ(read_text(folder / "target", 100), "new");
}

TEST(File, WhatCannotBeCreatedIsSaidBeforeTheWork) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "sub");
  std::filesystem::create_symlink("nowhere", folder / "dangling");
  for (const std::string& path :
       {folder / "no/a", folder / "sub", std::string("/dev/null"), folder / "dangling",
        std::string(), folder.file("f", "") + "/a", folder / std::string(300, 'x')}) {
    EXPECT_THAT(message_of<CreateError>([&] { check_can_create(path); }),
                StartsWith(path.empty() ? "cannot" : path + ": "))
        << path;
  }
  const int before = folder.entries();
  check_can_create(folder / "new");
  EXPECT_EQ(folder.entries(), before);
}

TEST(File, AFailedWriteNamesThePathAndLeavesNothing) {
  const TemporaryFolder folder;
  // A limit on the size of files makes write fail as a full disk does.
  const auto previous = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit before, small;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  small = {1000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string path = folder / "a";
  const std::string message =
      message_of<IoError>([&] { write_text(path, std::string(2000, 'x')); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, previous);
  EXPECT_EQ(message, path + ": cannot write: File too large");
  EXPECT_EQ(folder.entries(), 0);
}

TEST(File, AFullDiskNamesThePath) {
  // /dev/full refuses every write with ENOSPC; reached through the descriptor of an atomic file.
  const TemporaryFolder folder;
  const std::string path = folder / "a";
  AtomicFile file(path);
  const int full = ::open("/dev/full", O_WRONLY);
  ASSERT_GE(full, 0);
  int descriptor = -1;  // of the temporary file: the newest one before `full`
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code ignored;
    const auto target = std::filesystem::read_symlink(entry.path(), ignored);
    if (target.string().starts_with(folder.path())) descriptor = std::stoi(entry.path().filename());
  }
  ASSERT_GE(descriptor, 0);
  ASSERT_EQ(::dup2(full, descriptor), descriptor);
  ::close(full);
  EXPECT_EQ(message_of<IoError>([&] { file.write("x"); }),
            path + ": cannot write: No space left on device");
}

TEST(Text, Utf8IsCheckedByteByByte) {
  for (const char* good : {"", "abc", "\u00e9", "\u20ac", "\U0001F600", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_EQ(find_invalid_utf8(good), -1) << good;
  }
  for (const char* bad :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xC3", "\xE2\x82", "\xF0\x9F\x98", "\xFF"}) {
    EXPECT_EQ(find_invalid_utf8("ab" + std::string(bad)), 2);
    EXPECT_EQ(find_invalid_utf8("ab" + std::string(bad) + "cd"), 2);
  }
}

TEST(Text, PrintableKeepsTextAndEscapesControls) {
  EXPECT_EQ(printable("plain \u00e9\u20ac"), "plain \u00e9\u20ac");
  EXPECT_EQ(printable(std::string_view("a\n\x1b[0m\0\x7f", 8)), "a\\n\\x1b[0m\\x00\\x7f");
  EXPECT_EQ(printable("\xff\xc2\x85"), "\\xff\\u0085");
}

}  // namespace
}  // namespace longattn

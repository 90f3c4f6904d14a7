#include "core/workspace.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace longattn {
namespace {

TEST(Workspace, CountsWhatIsTakenRoundedTo64AndItsPeak) {
  Workspace workspace;
  {
    const Workspace::Scope scope(workspace);
    workspace.take<float>(1);
    EXPECT_EQ(workspace.bytes(), 64);
    workspace.take<double>(9);
    EXPECT_EQ(workspace.bytes(), 64 + 128);
    EXPECT_EQ(Workspace::bytes_for<double>(9), 128);
  }
  EXPECT_EQ(workspace.bytes(), 0);
  EXPECT_EQ(workspace.peak_bytes(), 192);
  workspace.reset_peak();
  EXPECT_EQ(workspace.peak_bytes(), 0);
}

TEST(Workspace, ScopesNestAndOnlyTheDeepestPeakCounts) {
  Workspace workspace;
  const Workspace::Scope outer(workspace);
  workspace.take<std::byte>(1000);
  for (int round = 0; round < 3; ++round) {
    const Workspace::Scope inner(workspace);
    workspace.take<std::byte>(100'000);
    EXPECT_EQ(workspace.bytes(), 1024 + 100'032);
  }
  EXPECT_EQ(workspace.bytes(), 1024);
  EXPECT_EQ(workspace.peak_bytes(), 1024 + 100'032);
}

TEST(Workspace, PiecesAreAlignedAndDoNotOverlap) {
  Workspace workspace;
  const Workspace::Scope scope(workspace);
  std::vector<std::span<unsigned char>> pieces;
  for (Index size : {1, 63, 64, 65, 60'000, 70'000, 7, 200'000, 3, 65'536, 1}) {
    pieces.push_back(workspace.take<unsigned char>(size));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(pieces.back().data()) % 64, 0u);
    std::memset(pieces.back().data(), static_cast<int>(pieces.size()), pieces.back().size());
  }
  for (size_t n = 0; n < pieces.size(); ++n) {
    for (unsigned char byte : pieces[n]) ASSERT_EQ(byte, n + 1);
  }
}

TEST(Workspace, TheSecondIdenticalCallGetsTheSameMemory) {
  Workspace workspace;
  const auto call = [&] {
    const Workspace::Scope scope(workspace);
    std::vector<const void*> places;
    for (Index size : {100, 50'000, 40'000, 300'000, 100, 80'000}) {
      const Workspace::Scope inner(workspace);
      places.push_back(workspace.take<std::byte>(size).data());
      places.push_back(workspace.take<std::byte>(size).data());
    }
    places.push_back(workspace.take<std::byte>(10'000).data());
    return places;
  };
  const auto first = call();
  EXPECT_EQ(call(), first);
  EXPECT_EQ(call(), first);
}

TEST(Workspace, AnEmptyPieceTakesNothing) {
  Workspace workspace;
  const Workspace::Scope scope(workspace);
  EXPECT_TRUE(workspace.take<float>(0).empty());
  EXPECT_EQ(workspace.bytes(), 0);
}

}  // namespace
}  // namespace longattn

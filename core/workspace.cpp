#include "core/workspace.h"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace longattn {

Workspace::Scope::Scope(Workspace& workspace)
    : workspace_(workspace),
      chunk_(workspace.current_),
      used_(workspace.chunks_.empty() ? 0 : workspace.chunks_[workspace.current_].used),
      bytes_(workspace.bytes_) {}

Workspace::Scope::~Scope() {
  auto& chunks = workspace_.chunks_;
  for (size_t n = chunk_ + 1; n < chunks.size(); ++n) chunks[n].used = 0;
  if (!chunks.empty()) chunks[chunk_].used = used_;
  workspace_.current_ = chunk_;
  workspace_.bytes_ = bytes_;
}

void Workspace::Free::operator()(std::byte* p) const { std::free(p); }

void* Workspace::take_bytes(Index bytes) {
  const auto size = static_cast<size_t>(rounded(std::max<Index>(bytes, 0)));
  while (current_ < chunks_.size() && chunks_[current_].size - chunks_[current_].used < size) {
    if (current_ + 1 == chunks_.size()) break;
    ++current_;
  }
  if (chunks_.empty() || chunks_[current_].size - chunks_[current_].used < size) {
    // Each request that does not fit gets a chunk of its own size, so that what is held never
    // exceeds what was counted by more than the rounding of the first small requests.
    constexpr size_t kSmallestChunk = size_t{1} << 16;
    Chunk chunk;
    chunk.size = std::max(size, kSmallestChunk);
    chunk.data.reset(static_cast<std::byte*>(std::aligned_alloc(64, chunk.size)));
    if (!chunk.data) throw std::bad_alloc();
    chunks_.push_back(std::move(chunk));
    current_ = chunks_.size() - 1;
  }
  Chunk& chunk = chunks_[current_];
  void* result = chunk.data.get() + chunk.used;
  chunk.used += size;
  bytes_ += static_cast<Index>(size);
  peak_bytes_ = std::max(peak_bytes_, bytes_);
  return result;
}

}  // namespace longattn

#include "variants/ring/handshake.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

namespace longattn {
namespace {

// Pieces of text, each with its end; of all ranks, which may say more or less than others.
std::vector<std::vector<std::string>> gather(Communicator& communicator,
                                             const std::vector<std::string>& own,
                                             Communicator::Deadline deadline) {
  std::string text;
  for (const std::string& piece : own) text += piece + '\0';
  const double size[] = {static_cast<double>(text.size())};
  const auto sizes = allgather(communicator, size, deadline);
  text.resize(static_cast<size_t>(std::ranges::max(sizes)));
  const auto all = allgather(communicator, std::as_bytes(std::span(text)), deadline);
  std::vector<std::vector<std::string>> of_ranks(sizes.size());
  for (size_t rank = 0; rank < sizes.size(); ++rank) {
    std::string piece;
    for (size_t n = 0; n < static_cast<size_t>(sizes[rank]); ++n) {
      const char c = static_cast<char>(all[rank * text.size() + n]);
      if (c != '\0') {
        piece += c;
      } else {
        of_ranks[rank].push_back(std::move(piece));
        piece.clear();
      }
    }
  }
  return of_ranks;
}

std::string value_of(const std::vector<std::string>& said, const std::string& name) {
  for (size_t n = 0; n + 1 < said.size(); n += 2) {
    if (said[n] == name) return said[n + 1];
  }
  return "unknown";
}

template <class T>
std::string text_of(const std::vector<T>& values) {
  return fmt::format("[{}]", fmt::join(values, ", "));
}

std::string text_of(const Shard& shard) {
  std::string text;
  for (const TokenSet& part : shard.segments()) {
    text += fmt::format(" {}+{}x{}", part.begin, part.count, part.stride);
  }
  return text;
}

}  // namespace

Facts facts_of(const RingPlan& plan, const Problem& p) {
  Facts facts = {{"ranks", fmt::format("{}", plan.ranks())},
                 {"batch", fmt::format("{}", p.batch)},
                 {"num_heads", fmt::format("{}", p.num_heads)},
                 {"num_kv_heads", fmt::format("{}", p.num_kv_heads)},
                 {"query_len", fmt::format("{}", p.query_len)},
                 {"key_len", fmt::format("{}", p.key_len)},
                 {"head_dim", fmt::format("{}", p.head_dim)},
                 {"value_dim", fmt::format("{}", p.value_dim)},
                 {"dtype", std::string(to_string(p.dtype))},
                 {"scale", fmt::format("{}", p.effective_scale())},
                 {"causal", fmt::format("{}", p.mask.causal)},
                 {"key_lengths", text_of(p.mask.key_lengths)},
                 {"document_ids", text_of(p.mask.document_ids)},
                 {"alibi_slopes", text_of(p.mask.alibi_slopes)}};
  for (int rank = 0; rank < plan.ranks(); ++rank) {
    facts.emplace_back(
        fmt::format("shard {}", rank),
        fmt::format("queries{}, keys{}", text_of(plan.queries(rank)), text_of(plan.keys(rank))));
  }
  return facts;
}

void handshake(Communicator& communicator, const Facts& own, Communicator::Deadline deadline) {
  std::vector<std::string> pieces;
  for (const auto& [name, value] : own) pieces.insert(pieces.end(), {name, value});
  const auto all = gather(communicator, pieces, deadline);
  std::vector<std::string> names;  // rank by rank, so that every rank looks in the same order
  for (const auto& said : all) {
    for (size_t n = 0; n < said.size(); n += 2) {
      if (std::ranges::find(names, said[n]) == names.end()) names.push_back(said[n]);
    }
  }
  for (const std::string& name : names) {
    std::map<std::string, std::vector<size_t>> ranks;
    for (size_t rank = 0; rank < all.size(); ++rank) {
      ranks[value_of(all[rank], name)].push_back(rank);
    }
    if (ranks.size() < 2) continue;
    std::vector<std::string> parts;
    for (const auto& [value, of] : ranks) {
      constexpr size_t kLongest = 200;
      parts.push_back(fmt::format("{} at rank {}", value.substr(0, kLongest), fmt::join(of, ", ")));
    }
    throw CommunicatorError(fmt::format("ranks differ: {} is {}", name, fmt::join(parts, " and ")));
  }
}

}  // namespace longattn

#include "experiments/shard.h"

#include <fmt/format.h>

#include <charconv>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/text.h"
#include "experiments/serialize.h"

namespace longattn {

std::string to_string(const RunShard& shard) {
  return fmt::format("{}/{}", shard.index, shard.count);
}

RunShard shard_from_string(const std::string& text) {
  RunShard shard;
  const char* const end = text.data() + text.size();
  const auto index = std::from_chars(text.data(), end, shard.index);
  const bool slash = index.ec == std::errc() && index.ptr != end && *index.ptr == '/';
  const auto count = slash ? std::from_chars(index.ptr + 1, end, shard.count) : index;
  if (!slash || count.ec != std::errc() || count.ptr != end || shard.index < 1 ||
      shard.index > shard.count) {
    throw OptionError(fmt::format(
        "--shard: expected i/n with 1 <= i <= n, for example 2/3, found '{}'", printable(text)));
  }
  return shard;
}

std::vector<Index> shard_of_cells(const std::vector<Cell>& cells, Index count) {
  std::map<std::string, Index> groups;
  std::vector<Index> shards;
  for (const Cell& cell : cells) {
    const std::string group = cell.input.label + '\n' + to_json(cell.problem).dump();
    const auto next = static_cast<Index>(groups.size());
    shards.push_back(groups.try_emplace(group, next).first->second % count + 1);
  }
  return shards;
}

std::string left_to(const RunShard& other) {
  return fmt::format("left to shard {}", to_string(other));
}

}  // namespace longattn

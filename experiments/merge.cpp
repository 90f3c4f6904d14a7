#include "experiments/merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/file.h"
#include "core/io/text.h"
#include "experiments/journal.h"
#include "experiments/measuring.h"
#include "experiments/results.h"
#include "experiments/resume_checks.h"
#include "experiments/run_folder.h"
#include "experiments/serialize.h"
#include "experiments/shard.h"

namespace longattn {
namespace {

using nlohmann::json;

// The journal of one shard, taken apart.
struct Part {
  std::string folder;
  RunShard shard;
  json run;
  std::vector<json> cells, measurements;
  std::string ended;  // empty: it did not
};

Part read_part(const std::string& folder) {
  const std::string path = (std::filesystem::path(folder) / "journal.jsonl").string();
  if (!std::filesystem::exists(path)) {
    throw IoError(
        fmt::format("{}: no journal.jsonl in it; expected the folder of a run", printable(folder)));
  }
  Part part;
  part.folder = folder;
  read_journal(path, [&](const json& record) {
    const auto kind = record.at("kind").get<std::string>();
    if (kind == "run") {
      part.run = record;
      part.shard = shard_from_string(record.at("shard").get<std::string>());
    } else if (kind == "cell") {
      part.cells.push_back(record);
    } else if (kind == "end") {
      part.ended = record.at("status").get<std::string>();
    } else if (record.contains("id")) {
      part.measurements.push_back(record);
    }
  });
  if (part.run.is_null()) throw DataError(fmt::format("{}: holds no run", printable(path)));
  return part;
}

std::vector<std::string> ids_of(const Part& part) {
  std::vector<std::string> ids;
  for (const json& record : part.cells) ids.push_back(record.at("cell").at("id"));
  return ids;
}

Provenance provenance_of(const Part& part) {
  Provenance provenance;
  for (const json& fact : part.run.at("provenance")) provenance.emplace_back(fact[0], fact[1]);
  return provenance;
}

void require_same(const Part& first, const Part& other) {
  const auto refuse = [&](const std::string& what) {
    throw Error(fmt::format("{} and {} cannot be merged: {}", printable(first.folder),
                            printable(other.folder), what));
  };
  const auto config = [](const Part& part) { return part.run.at("config").get<std::string>(); };
  const std::string lines = differing_lines(config(first), config(other));
  if (!lines.empty()) refuse("their configs differ:" + lines);
  if (first.run.at("measure") != other.run.at("measure")) {
    refuse(fmt::format("they measure {} and {}", first.run["measure"].dump(),
                       other.run["measure"].dump()));
  }
  if (ids_of(first) != ids_of(other)) refuse("their cells differ: a trace has changed in between");
  if (first.shard.count != other.shard.count) {
    refuse(
        fmt::format("they are shards {} and {}", to_string(first.shard), to_string(other.shard)));
  }
  if (first.shard.index == other.shard.index) {
    refuse(fmt::format("both hold shard {}", to_string(first.shard)));
  }
  // An error is the same everywhere; times of two machines do not belong in one table.
  Provenance before = provenance_of(first), now = provenance_of(other);
  if (!first.run["measure"].at("time").get<bool>()) {
    const auto is_of_machine = [](const auto& fact) { return fact.first != "build id"; };
    std::erase_if(before, is_of_machine);
  }
  const std::string facts = differing_facts(before, now);
  if (!facts.empty()) refuse("they were not made by one build on one kind of machine:" + facts);
}

// A picture of each shard's shortest cell is one too many where another shard has a shorter one.
void keep_shortest_pictures(const std::vector<Cell>& cells, std::vector<json>& records) {
  std::map<std::string, const Cell*> by_id;
  for (const Cell& cell : cells) by_id[cell.id] = &cell;
  std::map<std::string, Index> shortest;
  const auto cell_of = [&](const json& record) -> const Cell& {
    return *by_id.at(record.at("id").get<std::string>());
  };
  const auto is_picture = [](const json& record) { return record.at("kind") == "pattern"; };
  for (const json& record : records) {
    if (!is_picture(record)) continue;
    const Index length = cell_of(record).problem.key_len;
    Index& least = shortest.try_emplace(picture_group(cell_of(record)), length).first->second;
    least = std::min(least, length);
  }
  std::erase_if(records, [&](const json& record) {
    return is_picture(record) &&
           cell_of(record).problem.key_len > shortest[picture_group(cell_of(record))];
  });
}

}  // namespace

RunResults merge_runs(const std::vector<std::string>& shards, const std::string& folder,
                      std::vector<std::string>& remarks) {
  std::map<Index, Part> parts;
  for (const std::string& shard : shards) {
    Part part = read_part(shard);
    for (const auto& [index, other] : parts) require_same(other, part);
    parts.emplace(part.shard.index, std::move(part));
  }
  const Part& first = parts.begin()->second;
  std::vector<json> records = {first.run};
  records[0]["shard"] = to_string(RunShard{});
  records[0]["provenance"].push_back(
      {"merged from", fmt::format("{} of {} shards", parts.size(), first.shard.count)});
  std::vector<Cell> cells;
  for (const json& record : first.cells) cells.push_back(cell_from_json(record.at("cell")));
  const std::vector<Index> owners = shard_of_cells(cells, first.shard.count);
  for (size_t n = 0; n < cells.size(); ++n) {
    const auto owner = parts.find(owners[n]);
    // Without its shard a cell stays as the others have it: left to that shard.
    records.push_back((owner == parts.end() ? first : owner->second).cells[n]);
  }
  for (Index index = 1; index <= first.shard.count; ++index) {
    const auto found = parts.find(index);
    const std::string name = to_string(RunShard{index, first.shard.count});
    if (found == parts.end()) {
      if (std::ranges::find(owners, index) == owners.end()) continue;  // it has no cells
      remarks.push_back(fmt::format("shard {} is missing: its cells stay skipped", name));
      continue;
    }
    const Part& part = found->second;
    records.insert(records.end(), part.measurements.begin(), part.measurements.end());
    if (part.ended != "complete") {
      remarks.push_back(fmt::format("shard {} ({}) is not complete: longattn run --resume {}", name,
                                    part.ended.empty() ? "running or killed" : part.ended,
                                    printable(part.folder)));
    }
  }
  keep_shortest_pictures(cells, records);
  records.push_back(
      {{"kind", "end"}, {"status", remarks.empty() ? "complete" : "merged from what was there"}});
  const RunFolder target = RunFolder::create(folder);
  Journal::create(target.journal(), records);
  write_text(target.file("config.yaml"), first.run.at("config").get<std::string>());
  return results_from_folder(folder);
}

}  // namespace longattn

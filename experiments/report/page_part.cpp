#include "experiments/report/page_part.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "experiments/report/judgements.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

constexpr size_t kPageBlocks = 40;  // ten rows of each
constexpr size_t kDrawnBlocks = 5;  // some 20 KB and 0.05 s a picture, up to seven pictures each

// `count` of so many, the first and the last among them, in equal steps.
std::vector<size_t> spread_over(size_t size, size_t count) {
  std::vector<size_t> chosen;
  for (size_t n = 0; n < std::min(count, size); ++n) {
    chosen.push_back(count >= size ? n : count == 1 ? size - 1 : n * (size - 1) / (count - 1));
  }
  return chosen;
}

std::vector<bool> chosen_series(const Block& block, size_t count) {
  std::vector<bool> chosen(block.series.size(), false);
  size_t room = std::min(count, chosen.size());
  const auto take = [&](const std::vector<size_t>& candidates) {
    for (const size_t n : spread_over(candidates.size(), room)) {
      chosen[candidates[n]] = true;
    }
    room -= std::min(room, candidates.size());
  };
  std::set<std::string_view> variants;
  std::vector<size_t> first_ones, front, others;
  for (size_t n = 0; n < chosen.size(); ++n) {
    if (variants.insert(block.series[n].variant).second) first_ones.push_back(n);
  }
  take(first_ones);
  for (const auto& [series, result, standing] : standings(block, block.longest())) {
    const auto n = static_cast<size_t>(series - block.series.data());
    if (standing == Standing::front && !chosen[n]) front.push_back(n);
  }
  take(front);
  for (size_t n = 0; n < chosen.size(); ++n) {
    if (!chosen[n]) others.push_back(n);
  }
  take(others);
  return chosen;
}

std::vector<Index> chosen_lengths(const std::vector<Index>& all, size_t count) {
  if (all.size() <= count) return all;
  std::vector<Index> chosen = {all.back()};
  const auto first = static_cast<double>(all.front()), last = static_cast<double>(all.back());
  for (size_t n = 0; n + 1 < count; ++n) {
    const double part = static_cast<double>(n) / static_cast<double>(count - 1);
    const auto wanted = static_cast<Index>(std::ceil(first * std::pow(last / first, part) - 1e-6));
    chosen.push_back(*std::ranges::lower_bound(all, std::min(wanted, all.back())));
  }
  std::ranges::sort(chosen);
  chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
  return chosen;
}

bool has_result(const CellResult* result) { return result->status == Status::ok; }

Series part_of(const Series& series, const std::vector<Index>& lengths) {
  Series part = series;
  part.whole = &whole(series);
  const auto longest = std::find_if(series.cells.rbegin(), series.cells.rend(), has_result);
  std::erase_if(part.cells, [&](const CellResult* result) {
    const bool kept = result == series.cells.back() ||
                      (longest != series.cells.rend() && result == *longest) ||
                      std::ranges::binary_search(lengths, result->cell.problem.key_len);
    return !kept;
  });
  return part;
}

size_t rows_of(const std::vector<Block>& blocks) {
  size_t rows = 0;
  for (const Block& block : blocks) {
    for (const Series& series : block.series) rows += series.cells.size();
  }
  return rows;
}

}  // namespace

Block part_of(const Block& block, size_t series, size_t lengths) {
  Block part = block;
  part.whole = &whole(block);
  part.series.clear();
  const std::vector<Index> at = chosen_lengths(block.lengths, std::max<size_t>(lengths, 1));
  const std::vector<bool> chosen = chosen_series(block, std::max<size_t>(series, 1));
  std::set<Index> kept;
  for (size_t n = 0; n < chosen.size(); ++n) {
    if (!chosen[n]) continue;
    part.series.push_back(part_of(block.series[n], at));
    for (const CellResult* r : part.series.back().cells) kept.insert(r->cell.problem.key_len);
  }
  part.lengths.assign(kept.begin(), kept.end());
  std::erase_if(part.inputs, [&](const auto& input) { return !kept.contains(input.first); });
  return part;
}

std::string part_text(const Block& block) {
  std::vector<std::string> parts;
  const auto add = [&](size_t some, size_t all, const char* what) {
    if (some == all) return;
    parts.push_back(fmt::format("{} of {} {}", some, grouped(static_cast<Index>(all)), what));
  };
  const Block& all = whole(block);
  add(block.series.size(), all.series.size(), "settings");
  add(block.lengths.size(), all.lengths.size(), "lengths");
  return fmt::format("{}", fmt::join(parts, " and "));
}

PagePart page_part(const std::vector<Block>& all) {
  PagePart page;
  page.all_blocks = all.size();
  page.all_rows = rows_of(all);
  if (page.all_rows <= kPageRows) {
    page.blocks = all;
    page.drawn_blocks = all.size();
  } else {
    const size_t count = std::min(all.size(), kPageBlocks);
    page.drawn_blocks = std::min(all.size(), kDrawnBlocks);
    for (size_t n = 0; n < count; ++n) {
      const size_t rows = kPageRows / count;
      const size_t series = std::min({all[n].series.size(), rows, kCurves});
      page.blocks.push_back(part_of(all[n], series, rows / series));
    }
  }
  page.rows = rows_of(page.blocks);
  return page;
}

}  // namespace longattn

#include "variants/block_sparse.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <filesystem>
#include <vector>

#include "core/block_pattern.h"
#include "core/error.h"
#include "core/io/npy.h"
#include "core/io/text.h"
#include "core/softmax_definition.h"

namespace longattn {
namespace {

using Run = BlockPattern::Run;

// A layout by formula: whether a row shows a column, and the columns that a row of n shows.
struct Generator {
  std::string_view name;
  bool (*shows)(Index row, Index column, Index n);
  std::vector<Run> (*runs)(Index row, Index n);
};

constexpr Index kWindow = 4;  // blocks in a window of `fixed`

std::vector<Run> fixed_runs(Index row, Index n) {
  std::vector<Run> runs = {{row / kWindow * kWindow, (row / kWindow + 1) * kWindow}};
  for (Index first = 0; first < n; first += kWindow) {
    const Index last = std::min(first + kWindow, n) - 1;
    runs.push_back({last, last + 1});
  }
  return runs;
}

std::vector<Run> butterfly_runs(Index row, Index n) {
  std::vector<Run> runs = {{row, row + 1}};
  for (Index digit = 1; digit < 2 * n; digit *= 2) {
    runs.push_back({row ^ digit, (row ^ digit) + 1});
  }
  return runs;
}

// Of n blocks a row shows log2(2 n): n log2(2 n) grows as n^(1 + 1 / ln(2 n)), here at n = 256.
constexpr double kButterflyGrowth = 1.16;

constexpr std::array kGenerators = {
    Generator{"dense", [](Index, Index, Index) { return true; },
              [](Index, Index n) -> std::vector<Run> {
                return {{0, n}};
              }},
    Generator{"local", [](Index row, Index column, Index) { return std::abs(row - column) <= 1; },
              [](Index row, Index) -> std::vector<Run> {
                return {{row - 1, row + 2}};
              }},
    Generator{"fixed",
              [](Index row, Index column, Index n) {
                return row / kWindow == column / kWindow || column % kWindow == kWindow - 1 ||
                       column == n - 1;
              },
              fixed_runs},
    Generator{"butterfly",
              [](Index row, Index column, Index) {
                return std::popcount(static_cast<std::uint64_t>(row ^ column)) <= 1;
              },
              butterfly_runs},
};

std::vector<std::string> generator_names() {
  std::vector<std::string> names;
  for (const Generator& generator : kGenerators) names.emplace_back(generator.name);
  return names;
}

const Generator* find_generator(const Options& options) {
  const auto* found = std::ranges::find(kGenerators, options.text("layout"), &Generator::name);
  return found == kGenerators.end() ? nullptr : found;
}

Index blocks_of(const Problem& p, const Options& options) {
  return BlockPattern::count_blocks(p.key_len, options.integer("block_size"));
}

std::vector<Index> shape_of_file(const std::string& path) {
  if (!std::filesystem::exists(path)) {
    const std::vector<std::string> names = generator_names();
    const std::string close = closest_name(path, names);
    throw OptionError(fmt::format("option 'layout' is '{}', expected a file or one of {}{}",
                                  printable(path), fmt::join(names, ", "),
                                  close.empty() ? "" : fmt::format("; did you mean '{}'?", close)));
  }
  return read_npy_header(InputFile(path)).shape;
}

std::string refusal(const Problem& p, const Options& options) {
  if (find_generator(options) != nullptr) return "";
  const std::vector<Index> shape = shape_of_file(options.text("layout"));
  const Index n = blocks_of(p, options);
  if (shape == std::vector{n, n} || shape == std::vector{p.num_heads, n, n}) return "";
  return fmt::format(
      "layout {} has shape [{}], expected [{}, {}] or [{}, {}, {}]: num_heads, and key_len {} in "
      "blocks of {}",
      printable(options.text("layout")), fmt::join(shape, ", "), n, n, p.num_heads, n, n, p.key_len,
      options.integer("block_size"));
}

class Layout {
 public:
  Layout(const Problem& p, const Options& options)
      : n_(blocks_of(p, options)), generator_(find_generator(options)) {
    if (generator_ != nullptr) return;
    const NpyArray file = read_npy(options.text("layout"));
    heads_alike_ = file.shape.size() == 2;
    for (const double cell : to_doubles(file)) {
      if (cell != 0 && cell != 1) {
        throw DataError(fmt::format("{}: element {} in C order, expected 0 or 1, found {}",
                                    printable(options.text("layout")), cells_.size(), cell));
      }
      cells_.push_back(cell != 0);
    }
  }

  bool heads_alike() const { return heads_alike_; }
  bool shows(Index head, Index row, Index column) const {
    if (generator_ != nullptr) return generator_->shows(row, column, n_);
    return cells_[static_cast<size_t>(((heads_alike_ ? 0 : head) * n_ + row) * n_ + column)];
  }
  std::vector<Run> runs(Index head, Index row) const {
    if (generator_ != nullptr) return generator_->runs(row, n_);
    std::vector<Run> runs;
    for (Index column = 0; column < n_; ++column) {
      if (shows(head, row, column)) runs.push_back({column, column + 1});
    }
    return runs;
  }

 private:
  Index n_;
  const Generator* generator_;
  bool heads_alike_ = true;
  std::vector<bool> cells_;  // of a file
};

BlockPattern make_pattern(const Problem& p, const Options& options, const Layout& layout) {
  BlockPattern pattern(p, options.integer("block_size"));
  for (Index head = 0; head < (layout.heads_alike() ? 1 : p.num_heads); ++head) {
    for (Index row = 0; row < pattern.num_blocks(); ++row) pattern.add_row(layout.runs(head, row));
  }
  return pattern;
}

class BlockSparse final : public BlockPatternAttention {
 public:
  BlockSparse(const Problem& p, const Options& options, Layout layout)
      : BlockPatternAttention(p, make_pattern(p, options, layout)),
        block_size_(options.integer("block_size")),
        layout_(std::move(layout)) {}

  std::unique_ptr<Definition> definition(const Inputs& inputs, Index batch_entry,
                                         Index head) const override {
    return softmax_definition(
        problem(), inputs, batch_entry, head, [this, head](Index query, Index key) {
          const Index position = std::max<Index>(problem().position(query), 0);
          return layout_.shows(head, position / block_size_, key / block_size_);
        });
  }

 private:
  const Index block_size_;
  const Layout layout_;
};

Traits traits(const Problem& p, const Options& options) {
  const Generator* generator = find_generator(options);
  if (generator == nullptr) {
    return {.heads_alike = shape_of_file(options.text("layout")).size() == 2,
            .prefix_stable = false};
  }
  bool exact = generator->name == "dense";
  if (const Index n = blocks_of(p, options); n <= kWindow) {
    exact = true;
    for (Index cell = 0; cell < n * n; ++cell) exact &= generator->shows(cell / n, cell % n, n);
  }
  return {.exact = exact};
}

}  // namespace

const Variant kBlockSparse = {
    .name = "block_sparse",
    .summary = "any pattern of whole blocks, from a file or by name",
    .paper =
        "Gray, Radford & Kingma 2017, GPU Kernels for Block-Sparse Weights; Dao et al. 2022, "
        "FlashAttention, section 3.3",
    .options = {{.name = "block_size",
                 .type = OptionType::integer,
                 .default_value = Index{64},
                 .doc = "tokens in a block",
                 .minimum = 1,
                 .maximum = 0x1p40},
                {.name = "layout",
                 .type = OptionType::path,
                 .default_value = std::string("local"),
                 .doc = "which blocks see which: a .npy file of 0 and 1, [blocks, blocks] or "
                        "[num_heads, blocks, blocks], or a name",
                 .choices = generator_names()}},
    .extra = {},
    .unsupported = refusal,
    .traits = traits,
    .growth =
        [](const Options& options) {
          // fixed shows a quarter of all blocks; a file may show any share.
          const std::string& layout = options.text("layout");
          if (layout == "local") return Growth{.time = 1, .memory = 1};
          return Growth{.time = layout == "butterfly" ? kButterflyGrowth : 2, .memory = 1};
        },
    .make = [](const Problem& problem, const Options& options) -> std::unique_ptr<const Attention> {
      return std::make_unique<BlockSparse>(problem, options, Layout(problem, options));
    },
};

}  // namespace longattn

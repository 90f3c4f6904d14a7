#include "variants/linformer/projections.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/io/npy.h"
#include "core/kernels.h"
#include "core/random.h"

namespace longattn {
namespace {

constexpr Index kMostByDefault = 256, kShrinkByDefault = 8;

// What is wrong with the shape of a file of E or F; empty: nothing.
std::string wrong_shape(const char* option, const std::string& path, Index rows, Index key_len) {
  const std::vector<Index> shape = read_npy_header(InputFile(path)).shape;
  if (shape == std::vector<Index>{rows, key_len}) return "";
  std::string found;
  for (Index size : shape) found += fmt::format("{}{}", found.empty() ? "" : ", ", size);
  return fmt::format("{}: {} holds [{}], expected [projected_len {}, key_len {}]", option, path,
                     found, rows, key_len);
}

}  // namespace

Index projected_len(const Problem& p, const Options& options) {
  if (!options.is_automatic("projected_len")) return options.integer("projected_len");
  if (options.text("projection") == "file") {
    return read_npy_header(InputFile(options.text("e"))).shape.front();
  }
  return std::clamp<Index>(p.key_len / kShrinkByDefault, 1, kMostByDefault);
}

std::string wrong_files(const Problem& p, const Options& options) {
  const std::string &e = options.text("e"), &f = options.text("f");
  if (options.text("projection") != "file") {
    return e.empty() && f.empty() ? "" : "e and f are read only with projection=file";
  }
  if (e.empty()) return "projection=file needs e, a .npy of [projected_len, key_len]";
  const std::vector<Index> shape = read_npy_header(InputFile(e)).shape;
  const Index rows = !options.is_automatic("projected_len") ? options.integer("projected_len")
                     : shape.size() == 2                    ? std::max<Index>(shape[0], 1)
                                                            : 1;
  if (std::string wrong = wrong_shape("e", e, rows, p.key_len); !wrong.empty()) return wrong;
  return f.empty() ? "" : wrong_shape("f", f, rows, p.key_len);
}

Projections::Projections(const Problem& p, const Options& options)
    : key_len_(p.key_len),
      length_(projected_len(p, options)),
      taps_((key_len_ + length_ - 1) / length_),
      kind_(options.text("projection") == "gaussian"    ? Kind::gaussian
            : options.text("projection") == "mean_pool" ? Kind::mean_pool
            : options.text("projection") == "conv"      ? Kind::conv
                                                        : Kind::file),
      seed_(static_cast<std::uint64_t>(options.integer("seed"))) {
  if (kind_ == Kind::file) {
    add_file(options.text("e"));
    if (!options.text("f").empty()) add_file(options.text("f"));
    slots_ = static_cast<Index>(learned_.size());
  } else if (kind_ != Kind::mean_pool && options.text("share") != "key_value") {
    per_head_ = options.text("share") == "none";
    slots_ = per_head_ ? 2 * p.num_heads : 2;
  }
}

Index Projections::bytes() const {
  const Index numbers = means() ? 0 : pooled() ? taps_ : length_ * key_len_;
  return slots_ * numbers * static_cast<Index>(sizeof(float));
}

Index Projections::strip_rows(Index row) const { return std::min(kernels::kStrip, length_ - row); }

size_t Projections::place(Index row, Index key) const {
  const Index first = row / kernels::kStrip * kernels::kStrip;
  return static_cast<size_t>(first * key_len_ + key * strip_rows(first) + row - first);
}

double Projections::entry(Side side, Index head, Index row, Index key) const {
  if (!pooled()) return static_cast<double>(numbers_of(side, head)[place(row, key)]);
  const Segment s = segment(row);
  if (key < s.begin || key >= s.end) return 0;
  if (means()) return 1 / static_cast<double>(s.end - s.begin);
  return static_cast<double>(numbers_of(side, head)[key - s.begin]);
}

// Drawn at first use: a plan may be made only to ask what it would cost.
const float* Projections::numbers_of(Side side, Index head) const {
  std::call_once(drawn_, [this] {
    if (kind_ != Kind::file) draw();
  });
  const Index own = same_for_keys_and_values() ? 0 : side == Side::values ? 1 : 0;
  return learned_[static_cast<size_t>(per_head_ ? 2 * head + own : own)].data();
}

void Projections::draw() const {
  const Index rows = pooled() ? 1 : length_, columns = pooled() ? taps_ : key_len_;
  const double deviation = 1 / std::sqrt(static_cast<double>(pooled() ? taps_ : length_));
  for (Index slot = 0; slot < slots_; ++slot) {
    std::vector<float> matrix(static_cast<size_t>(rows * columns));
    for (Index row = 0; row < rows; ++row) {
      const auto stream =
          make_stream(static_cast<std::uint64_t>(slot), 0, static_cast<std::uint64_t>(row));
      const CounterRandom random(seed_, stream);
      std::array<double, 2> pair{};
      for (Index j = 0; j < columns; ++j) {
        if (j % 2 == 0) pair = random.normal_pair(static_cast<std::uint64_t>(j / 2));
        matrix[pooled() ? static_cast<size_t>(j) : place(row, j)] =
            static_cast<float>(deviation * pair[static_cast<size_t>(j % 2)]);
      }
    }
    learned_.push_back(std::move(matrix));
  }
}

void Projections::add_file(const std::string& path) {
  const std::vector<double> numbers = to_doubles(read_npy(path));
  std::vector<float>& matrix = learned_.emplace_back(numbers.size());
  for (Index row = 0; row < length_; ++row) {
    for (Index j = 0; j < key_len_; ++j) {
      matrix[place(row, j)] = static_cast<float>(numbers[static_cast<size_t>(row * key_len_ + j)]);
    }
  }
}

}  // namespace longattn

#include "variants/linformer/projections.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/io/npy.h"
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
      kind_(options.text("projection")),
      seed_(static_cast<std::uint64_t>(options.integer("seed"))) {
  if (kind_ == "file") {
    add_file(options.text("e"));
    if (!options.text("f").empty()) add_file(options.text("f"));
    slots_ = static_cast<Index>(learned_.size());
  } else if (kind_ != "mean_pool" && options.text("share") != "key_value") {
    per_head_ = options.text("share") == "none";
    slots_ = per_head_ ? 2 * p.num_heads : 2;
  }
}

double Projections::numbers() const {
  return static_cast<double>(slots_) * static_cast<double>(pooled() ? taps_ : length_ * key_len_);
}

double Projections::entry(Side side, Index head, Index row, Index key) const {
  if (!pooled()) {
    return static_cast<double>(dense(side, head).data[row * key_len_ + key]);
  }
  const Segment s = segment(row);
  if (key < s.begin || key >= s.end) return 0;
  if (kind_ == "mean_pool") return 1 / static_cast<double>(s.end - s.begin);
  return static_cast<double>(numbers_of(side, head)[key - s.begin]);
}

// Drawn at first use: a plan may be made only to ask what it would cost.
const float* Projections::numbers_of(Side side, Index head) const {
  std::call_once(drawn_, [this] {
    if (kind_ != "file") draw();
  });
  const Index own = same_for_keys_and_values() ? 0 : side == Side::values ? 1 : 0;
  return learned_[static_cast<size_t>(per_head_ ? 2 * head + own : own)].data();
}

void Projections::draw() const {
  const Index rows = kind_ == "conv" ? 1 : length_;
  const Index columns = kind_ == "conv" ? taps_ : key_len_;
  const double deviation = 1 / std::sqrt(static_cast<double>(kind_ == "conv" ? taps_ : length_));
  for (Index slot = 0; slot < slots_; ++slot) {
    std::vector<float> matrix(static_cast<size_t>(rows * columns));
    for (Index row = 0; row < rows; ++row) {
      const auto stream =
          make_stream(static_cast<std::uint64_t>(slot), 0, static_cast<std::uint64_t>(row));
      const CounterRandom random(seed_, stream);
      float* out = matrix.data() + row * columns;
      for (Index j = 0; j < columns; j += 2) {
        const auto pair = random.normal_pair(static_cast<std::uint64_t>(j / 2));
        out[j] = static_cast<float>(deviation * pair[0]);
        if (j + 1 < columns) out[j + 1] = static_cast<float>(deviation * pair[1]);
      }
    }
    learned_.push_back(std::move(matrix));
  }
}

void Projections::add_file(const std::string& path) {
  const std::vector<double> numbers = to_doubles(read_npy(path));
  learned_.emplace_back(numbers.begin(), numbers.end());
}

}  // namespace longattn

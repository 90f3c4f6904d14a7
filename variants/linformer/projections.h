#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "core/options.h"

// Inside of Linformer: E and F, however they came about.
namespace longattn {

enum class Side { keys, values };

/// Rows of E and F: the option, or the file's, or by default a share of the keys.
Index projected_len(const Problem& problem, const Options& options);
/// What is wrong with the files of E and F, with both shapes; empty: nothing. Throws IoError or
/// DataError where there is no such file.
std::string wrong_files(const Problem& problem, const Options& options);

/// E and F of every head: parameters that the definition and forward both read.
class Projections {
 public:
  Projections(const Problem& problem, const Options& options);

  Index length() const { return length_; }
  bool pooled() const { return kind_ == Kind::mean_pool || kind_ == Kind::conv; }
  /// Whether a row is the mean of its segment.
  bool means() const { return kind_ == Kind::mean_pool; }
  bool same_for_keys_and_values() const { return slots_ == 1; }
  bool per_head() const { return per_head_; }
  /// Products behind one element of a projected row.
  Index terms() const { return pooled() ? taps_ : key_len_; }
  /// That E and F take.
  Index bytes() const;

  struct Segment {
    Index begin, end;
  };
  /// Keys of one row, if pooled.
  Segment segment(Index row) const {
    return {row * key_len_ / length_, (row + 1) * key_len_ / length_};
  }
  /// Entry (row, key) of E or F of a head.
  double entry(Side side, Index head, Index row, Index key) const;
  /// Weights of the keys of a segment, if pooled but no mean.
  const float* taps(Side side, Index head) const { return numbers_of(side, head); }
  /// Keys [first, ..) of rows [row, row + strip_rows(row)) of E or F, if not pooled; `row` is a
  /// multiple of kernels::kStrip. As kernels::pack_strip makes them: [key][row].
  const float* strip(Side side, Index head, Index row, Index first) const {
    return numbers_of(side, head) + row * key_len_ + first * strip_rows(row);
  }
  Index strip_rows(Index row) const;

 private:
  enum class Kind { gaussian, mean_pool, conv, file };

  const float* numbers_of(Side side, Index head) const;
  size_t place(Index row, Index key) const;  // of an entry in `learned_`, if not pooled
  void draw() const;
  void add_file(const std::string& path);

  Index key_len_, length_, taps_;
  Kind kind_;
  std::uint64_t seed_;
  Index slots_ = 1;  // different matrices (or kernels), by head and side
  bool per_head_ = false;
  mutable std::once_flag drawn_;
  mutable std::vector<std::vector<float>> learned_;  // one a slot: strips, or taps
};

}  // namespace longattn

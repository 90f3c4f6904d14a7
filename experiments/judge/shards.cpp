#include "experiments/judge/shards.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/tolerance.h"

namespace longattn {
namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();
constexpr double kBytesAtOnce = 64 << 20;

// A row's sums over some keys, weights exp(s - maximum): numbers first, then four vectors of
// value_dim each. Plain doubles, because they travel.
class Sums {
 public:
  enum Number {
    // Of full attention, by the scores of the keys as they are stored:
    maximum,
    sum,
    score_sum,
    count,
    float_maximum,
    float_sum,
    // Of the ring, over the keys of its window, by the scores of the keys as they travel:
    own_maximum,
    own_sum,
    own_excess,  // weights times what a score exceeds that of the stored key
    own_bound,
    own_count,
    kept,  // of full attention's sum, on keys that the ring weighs
    kNumbers
  };
  enum Vector { values, visible_values, float_values, own_values, own_magnitudes, kVectors };
  static Index size(Index dim) { return kNumbers + kVectors * dim; }

  Sums(double* data, Index dim) : data_(data), dim_(dim) {}
  double& operator[](Number number) { return data_[number]; }
  Eigen::Map<Eigen::VectorXd> operator[](Vector vector) {
    return {data_ + kNumbers + vector * dim_, dim_};
  }
  void clear() {
    std::fill_n(data_, size(dim_), 0.0);
    data_[maximum] = data_[float_maximum] = data_[own_maximum] = kNothing;
  }

 private:
  double* data_;
  Index dim_;
};

// A query of the sample, at every rank: what it is, and what forward wrote for it.
struct SampledRow {
  Index batch_entry, head, query;
  bool pinned;
};

std::vector<SampledRow> rows_of(const std::vector<RowChunk>& chunks) {
  std::vector<SampledRow> rows;
  for (const RowChunk& chunk : chunks) {
    for (Index query : chunk.queries) {
      rows.push_back({chunk.batch_entry, chunk.head, query, chunk.pinned});
    }
  }
  return rows;
}

Index local_of(const Shard& shard, Index token) {
  const Index local = shard.count_below(token);
  return local < shard.size() && shard[local] == token ? local : -1;
}

class ShardJudge {
 public:
  ShardJudge(const Attention& attention, const OwnShard& own, Communicator& communicator,
             Communicator::Deadline deadline, Context& context)
      : attention_(attention),
        p_(attention.problem()),
        own_(own),
        communicator_(communicator),
        deadline_(deadline),
        context_(context) {}

  std::vector<RowJudgement> judge(const std::vector<SampledRow>& all) {
    const double bytes_of_row = static_cast<double>(communicator_.size()) * sizeof(double) *
                                static_cast<double>(Sums::size(p_.value_dim) + p_.head_dim);
    const size_t at_once =
        std::clamp<size_t>(static_cast<size_t>(kBytesAtOnce / bytes_of_row), 1, 4096);
    std::vector<RowJudgement> judged;
    for (size_t n = 0; n < all.size(); n += at_once) {
      const std::span rows(&all[n], std::min(at_once, all.size() - n));
      share(rows);
      sum_own(rows);
      for (size_t r = 0; r < rows.size(); ++r) judged.push_back(merge(rows[r], r));
    }
    return judged;
  }

 private:
  Index shared_size() const { return p_.head_dim + p_.value_dim; }
  const double* query_of(size_t row) const {
    return &shared_[row * static_cast<size_t>(shared_size())];
  }
  const double* forward_of(size_t row) const { return query_of(row) + p_.head_dim; }

  // Every row is one rank's; the others say zeros.
  void share(std::span<const SampledRow> rows) {
    const auto size = static_cast<size_t>(shared_size());
    std::vector<double> said(rows.size() * size, 0.0);
    for (size_t r = 0; r < rows.size(); ++r) {
      const auto& [b, h, query, pinned] = rows[r];
      const Index local = local_of(own_.plan.queries(own_.rank), query);
      if (local < 0) continue;
      load_row(own_.inputs.queries, b, h, local, &said[r * size]);
      load_row(own_.output, b, h, local, &said[r * size] + p_.head_dim);
    }
    const std::vector<double> all = allgather(communicator_, said, deadline_);
    shared_.assign(said.size(), 0.0);
    for (size_t n = 0; n < all.size(); ++n) shared_[n % said.size()] += all[n];
  }

  void sum_own(std::span<const SampledRow> rows) {
    const Index size = Sums::size(p_.value_dim);
    std::vector<double> own(rows.size() * static_cast<size_t>(size));
    context_.arena().for_each(static_cast<Index>(rows.size()), [&](Index r, int) {
      Sums sums(&own[static_cast<size_t>(r * size)], p_.value_dim);
      sum_row(rows[static_cast<size_t>(r)], static_cast<size_t>(r), sums);
    });
    of_ranks_ = allgather(communicator_, own, deadline_);
  }

  struct Score {
    double exact = 0, own = 0;
    float plain = 0;  // in float32
    bool visible = false, weighed = false;
  };

  // A row as it travels.
  void round(Eigen::VectorXd& row) const {
    std::vector<float> narrow(static_cast<size_t>(row.size()));
    std::vector<std::byte> stored(narrow.size() * static_cast<size_t>(byte_size(own_.plan.wire())));
    Eigen::Map<Eigen::VectorXf> floats(narrow.data(), row.size());
    floats = row.cast<float>();
    store_floats(own_.plan.wire(), narrow.data(), row.size(), stored.data());
    load_floats(own_.plan.wire(), stored.data(), row.size(), narrow.data());
    row = floats.cast<double>();
  }

  // Two passes over the keys: the maxima first.
  void sum_row(const SampledRow& row, size_t r, Sums& sums) const {
    const auto& [b, h, query, pinned] = row;
    const Shard& keys = own_.plan.keys(own_.rank);
    const Index kv_head = p_.kv_head(h);
    const auto& window = own_.plan.settings().window;
    const Eigen::Map<const Eigen::VectorXd> q(query_of(r), p_.head_dim);
    const Eigen::VectorXf q_float = q.cast<float>();
    const double scale = p_.effective_scale();
    Eigen::VectorXd k(p_.head_dim), v(p_.value_dim);
    Eigen::VectorXf float_values = Eigen::VectorXf::Zero(p_.value_dim);
    std::vector<Score> scores(static_cast<size_t>(keys.size()));
    sums.clear();
    auto largest_float = -std::numeric_limits<float>::infinity();
    for (Index n = 0; n < keys.size(); ++n) {
      if (!p_.visible(b, query, keys[n])) continue;
      Score& score = scores[static_cast<size_t>(n)];
      score.visible = true;
      score.weighed = !window || std::abs(p_.position(query) - keys[n]) <= *window;
      load_row(own_.inputs.keys, b, kv_head, n, k.data());
      const double bias = p_.bias(h, query, keys[n]);
      score.exact = score.own = scale * q.dot(k) + bias;
      score.plain = q_float.dot(k.cast<float>().eval()) * static_cast<float>(scale) +
                    static_cast<float>(bias);
      sums[Sums::maximum] = std::max(sums[Sums::maximum], score.exact);
      largest_float = std::max(largest_float, score.plain);
      if (!score.weighed) continue;
      if (own_.plan.rounds()) {
        round(k);
        score.own = scale * q.dot(k) + bias;
      }
      sums[Sums::own_maximum] = std::max(sums[Sums::own_maximum], score.own);
      const double bound = std::abs(scale) * q.cwiseAbs().dot(k.cwiseAbs()) + std::abs(bias);
      sums[Sums::own_bound] = std::max(sums[Sums::own_bound], bound);
    }
    float float_sum = 0;
    for (Index n = 0; n < keys.size(); ++n) {
      const Score& score = scores[static_cast<size_t>(n)];
      if (!score.visible) continue;
      load_row(own_.inputs.values, b, kv_head, n, v.data());
      const double weight = std::exp(score.exact - sums[Sums::maximum]);
      sums[Sums::count] += 1;
      sums[Sums::sum] += weight;
      sums[Sums::score_sum] += weight * score.exact;
      sums[Sums::values] += weight * v;
      sums[Sums::visible_values] += v;
      float plain = std::exp(score.plain - largest_float);
      if (p_.dtype == DType::bfloat16) plain = bfloat16_to_float(float_to_bfloat16(plain));
      float_sum += plain;
      float_values += plain * v.cast<float>();
      if (!score.weighed) continue;
      const double own = std::exp(score.own - sums[Sums::own_maximum]);
      sums[Sums::own_count] += 1;
      sums[Sums::own_sum] += own;
      sums[Sums::own_excess] += own * (score.own - score.exact);
      sums[Sums::own_values] += own * v;
      sums[Sums::own_magnitudes] += own * v.cwiseAbs();
      sums[Sums::kept] += weight;
    }
    sums[Sums::float_maximum] = static_cast<double>(largest_float);
    sums[Sums::float_sum] = static_cast<double>(float_sum);
    sums[Sums::float_values] = float_values.cast<double>();
  }

  // Sums of one rank into those of all, whose maxima are known.
  static void add(Sums one, Sums& all) {
    if (one[Sums::count] == 0) return;
    const double weight = std::exp(one[Sums::maximum] - all[Sums::maximum]);
    for (const auto number : {Sums::sum, Sums::score_sum, Sums::kept}) {
      all[number] += weight * one[number];
    }
    all[Sums::values] += weight * one[Sums::values];
    all[Sums::count] += one[Sums::count];
    all[Sums::visible_values] += one[Sums::visible_values];
    // A plain float32 evaluation, in parts.
    const auto plain =
        std::exp(static_cast<float>(one[Sums::float_maximum] - all[Sums::float_maximum]));
    all[Sums::float_sum] = static_cast<double>(static_cast<float>(all[Sums::float_sum]) +
                                               plain * static_cast<float>(one[Sums::float_sum]));
    all[Sums::float_values] =
        (all[Sums::float_values].cast<float>() + plain * one[Sums::float_values].cast<float>())
            .cast<double>();
    if (one[Sums::own_count] == 0) return;
    const double own = std::exp(one[Sums::own_maximum] - all[Sums::own_maximum]);
    for (const auto number : {Sums::own_sum, Sums::own_excess}) all[number] += own * one[number];
    for (const auto vector : {Sums::own_values, Sums::own_magnitudes}) {
      all[vector] += own * one[vector];
    }
    all[Sums::own_count] += one[Sums::own_count];
  }

  RowJudgement merge(const SampledRow& row, size_t r) {
    const Index dim = p_.value_dim;
    const auto size = static_cast<size_t>(Sums::size(dim));
    std::vector<double> merged(size);
    Sums all(merged.data(), dim);
    all.clear();
    const auto part = [&](int rank) {
      const size_t rows = of_ranks_.size() / size / static_cast<size_t>(communicator_.size());
      return Sums(&of_ranks_[(static_cast<size_t>(rank) * rows + r) * size], dim);
    };
    for (int rank = 0; rank < communicator_.size(); ++rank) {
      for (const auto number :
           {Sums::maximum, Sums::float_maximum, Sums::own_maximum, Sums::own_bound}) {
        all[number] = std::max(all[number], part(rank)[number]);
      }
    }
    for (int rank = 0; rank < communicator_.size(); ++rank) add(part(rank), all);
    return verdict(row, r, all);
  }

  RowJudgement verdict(const SampledRow& row, size_t r, Sums& all) const {
    RowJudgement judged;
    judged.pinned = row.pinned;
    judged.head = row.head;
    if (all[Sums::count] > 0) {
      all[Sums::values] /= all[Sums::sum];
      all[Sums::visible_values] /= all[Sums::count];
      const auto float_sum = static_cast<float>(all[Sums::float_sum]);
      all[Sums::float_values] = (all[Sums::float_values].cast<float>() / float_sum).cast<double>();
      const double log_sum = all[Sums::maximum] + std::log(all[Sums::sum]);
      judged.visible = 1;
      judged.entropy = std::max(0.0, log_sum - all[Sums::score_sum] / all[Sums::sum]);
      judged.lost = std::max(0.0, 1 - all[Sums::kept] / all[Sums::sum]);
      judged.uncovered = all[Sums::own_count] == 0;
      if (!judged.uncovered) {
        all[Sums::own_values] /= all[Sums::own_sum];
        all[Sums::own_magnitudes] /= all[Sums::own_sum];
        const double own_log_sum = all[Sums::own_maximum] + std::log(all[Sums::own_sum]);
        judged.kl_divergence =
            std::max(0.0, all[Sums::own_excess] / all[Sums::own_sum] - own_log_sum + log_sum);
        judged.total_variation = judged.lost;  // of a window: P, scaled up on what is kept
      }
      if (all[Sums::own_count] == all[Sums::count]) {
        judged.lost = judged.total_variation = 0;
        judged.top = judged.top_found = std::min(static_cast<double>(kTopKeys), all[Sums::count]);
        if (!own_.plan.rounds()) judged.kl_divergence = 0;
      }
    }
    compare(r, all, judged);
    const auto from_full = [&](Sums::Vector vector) -> Eigen::VectorXd {
      return all[vector] - all[Sums::values];
    };
    judged.floor2 = from_full(Sums::float_values).squaredNorm();
    judged.mean2 = from_full(Sums::visible_values).squaredNorm();
    judged.error2 = from_full(Sums::own_values).squaredNorm();
    judged.max_abs = from_full(Sums::own_values).cwiseAbs().maxCoeff();
    return judged;
  }

  // Forward against the ring's definition.
  void compare(size_t r, Sums& all, RowJudgement& judged) const {
    judged.full2 = all[Sums::values].squaredNorm();
    double tolerance2 = 0;
    for (Index c = 0; c < p_.value_dim; ++c) {
      const double tolerance =
          tolerance_of(attention_, all[Sums::own_bound], all[Sums::own_magnitudes](c));
      const double difference = std::abs(forward_of(r)[c] - all[Sums::own_values](c));
      tolerance2 += tolerance * tolerance;
      if (difference == 0) continue;
      const double ratio = difference / tolerance;
      judged.ratio = std::isnan(ratio) ? std::numeric_limits<double>::infinity()
                                       : std::max(judged.ratio, ratio);
    }
    const double norm = all[Sums::own_values].norm();
    if (norm > 0) judged.resolution = std::sqrt(tolerance2) / norm;
  }

  const Attention& attention_;
  const Problem& p_;
  const OwnShard& own_;
  Communicator& communicator_;
  const Communicator::Deadline deadline_;
  Context& context_;
  std::vector<double> shared_;    // [rows, head_dim + value_dim]
  std::vector<double> of_ranks_;  // [ranks, rows, Sums::size]
};

// Rows of this rank's output with an element that is not finite, and the first of them.
std::array<double, 4> broken_rows(const Problem& p, const OwnShard& own) {
  const Shard& queries = own.plan.queries(own.rank);
  std::array<double, 4> broken{};
  for (Index b = 0; b < p.batch; ++b) {
    for (Index h = 0; h < p.num_heads; ++h) {
      for (Index n = 0; n < queries.size(); ++n) {
        const float* row = own.output.float_row(b, h, n);
        if (std::all_of(row, row + p.value_dim, [](float x) { return std::isfinite(x); })) continue;
        if (broken[0]++ > 0) continue;
        broken = {1, static_cast<double>(b), static_cast<double>(h),
                  static_cast<double>(queries[n])};
      }
    }
  }
  return broken;
}

}  // namespace

void judge_shards(const Attention& attention, const Traits& traits, const OwnShard& own,
                  const JudgeSettings& settings, Communicator& communicator,
                  Communicator::Deadline deadline, Context& context, CellResult& result) {
  const Problem& p = attention.problem();
  const auto broken = allgather(communicator, broken_rows(p, own), deadline);
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const double* one = &broken[static_cast<size_t>(rank) * 4];
    if (one[0] == 0) continue;
    result.status = Status::nan;
    result.reason = fmt::format(
        "{} output rows of rank {} hold NaN or infinity, the first at batch {}, head {}, query {}",
        one[0], rank, one[1], one[2], one[3]);
    return;
  }
  ShardJudge judge(attention, own, communicator, deadline, context);
  const auto rows = judge.judge(rows_of(sample_rows(p, settings.rows, settings.seed)));
  if (rows.empty()) return;
  summarise_rows(rows, p, traits, settings.seed, result);
  // What nobody could tell without a whole row of weights.
  if (own.plan.rounds()) result.total_variation.reset();
  if (own.plan.settings().window) {
    result.oracle_error.reset();
    result.top_recall.reset();
  }
}

}  // namespace longattn

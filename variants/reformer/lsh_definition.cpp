#include "variants/reformer/lsh_definition.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/softmax_definition.h"

namespace longattn {
namespace {

// Which keys the queries of one head see, round by round as the header says it.
class SeenKeys {
 public:
  SeenKeys(const Problem& p, const LshSettings& s, const LshHash& hash, const Inputs& inputs,
           Index b, Index head)
      : s_(s), chunks_(s.chunks(p.visible_key_len(b))) {
    const Index keys = p.visible_key_len(b), rotation = s.rotation_head(p, head);
    std::vector<float> scratch(static_cast<size_t>(hash.scratch_floats()));
    std::vector<std::int32_t> of_queries(static_cast<size_t>(s.rounds * p.query_len));
    std::vector<std::int32_t> of_keys(static_cast<size_t>(s.rounds * keys));
    hash.buckets(inputs.queries, b, head, rotation, 0, p.query_len, scratch.data(),
                 of_queries.data(), p.query_len);
    const ConstTensorView& view = s.shared_qk ? inputs.queries : inputs.keys;
    hash.buckets(view, b, s.shared_qk ? head : p.kv_head(head), rotation, 0, keys, scratch.data(),
                 of_keys.data(), keys);
    for (Index n = 0; n < s.rounds; ++n) {
      const auto query = of_queries.begin() + n * p.query_len, key = of_keys.begin() + n * keys;
      add_round({query, query + p.query_len}, {key, key + keys});
    }
  }

  bool sees(Index query, Index key) const {
    const auto i = static_cast<size_t>(query), j = static_cast<size_t>(key);
    return std::ranges::any_of(rounds_, [&](const Round& round) {
      if (j >= round.key_chunk.size()) return false;  // padding
      if (!s_.across_buckets && round.query_bucket[i] != round.key_bucket[j]) return false;
      Index back = round.query_chunk[i] - round.key_chunk[j];
      if (s_.wrap_around && back < 0) back += chunks_;
      return back >= 0 && back <= s_.look_back;
    });
  }

 private:
  struct Round {
    std::vector<std::int32_t> query_bucket, key_bucket, query_chunk, key_chunk;
  };

  std::int32_t chunk_of(Index place) const { return static_cast<std::int32_t>(place / s_.chunk); }

  void add_round(std::vector<std::int32_t> query_bucket, std::vector<std::int32_t> key_bucket) {
    const size_t queries = query_bucket.size(), keys = key_bucket.size();
    Round round{
        std::move(query_bucket), std::move(key_bucket), {}, std::vector<std::int32_t>(keys)};
    std::vector<size_t> order(keys);
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::stable_sort(order, {}, [&](size_t j) { return round.key_bucket[j]; });
    for (size_t place = 0; place < keys; ++place) {
      round.key_chunk[order[place]] = chunk_of(static_cast<Index>(place));
    }
    const auto buckets = static_cast<size_t>(s_.num_buckets());
    std::vector<Index> of_keys(buckets), of_queries(buckets), start(buckets), rank(buckets);
    for (std::int32_t b : round.key_bucket) ++of_keys[static_cast<size_t>(b)];
    for (std::int32_t b : round.query_bucket) ++of_queries[static_cast<size_t>(b)];
    std::exclusive_scan(of_keys.begin(), of_keys.end(), start.begin(), Index{0});
    for (size_t i = 0; i < queries; ++i) {
      const auto b = static_cast<size_t>(round.query_bucket[i]);
      const Index place = start[b] + rank[b]++ * of_keys[b] / of_queries[b];
      round.query_chunk.push_back(chunk_of(std::min(place, static_cast<Index>(keys) - 1)));
    }
    rounds_.push_back(std::move(round));
  }

  const LshSettings s_;
  const Index chunks_;
  std::vector<Round> rounds_;
};

// Rows of shared queries and keys: k_j = q_j / ||q_j||, oneself only where nothing else is seen.
class SharedDefinition final : public Definition {
 public:
  SharedDefinition(const Problem& p, const Inputs& inputs, Index b, Index head,
                   KeyPredicate allowed)
      : p_(p), queries_(inputs.queries), b_(b), head_(head), allowed_(std::move(allowed)) {}

  Rows rows(std::span<const Index> queries) const override {
    const auto count = static_cast<Index>(queries.size());
    const double scale = p_.effective_scale();
    Eigen::MatrixXd q(p_.head_dim, count);
    for (Index r = 0; r < count; ++r) {
      load_row(queries_, b_, head_, queries[static_cast<size_t>(r)], q.col(r).data());
    }
    Rows result;
    result.weights = Eigen::MatrixXd::Constant(count, p_.key_len, kNothing);  // scores, at first
    result.score_bound = Eigen::VectorXd::Zero(count);
    result.logsumexp = Eigen::VectorXd::Constant(count, kNothing);
    std::vector<Own> own(queries.size());
    Eigen::VectorXd k(p_.head_dim);
    for (Index j = 0; j < p_.key_len; ++j) {
      load_row(queries_, b_, head_, j, k.data());
      if (const double norm = k.norm(); norm != 0) k /= norm;
      for (Index r = 0; r < count; ++r) {
        const Index i = queries[static_cast<size_t>(r)];
        if (!p_.visible(b_, i, j) || !allowed_(i, j)) continue;
        const double bias = p_.bias(head_, i, j), score = scale * q.col(r).dot(k) + bias;
        const double bound =
            std::abs(scale) * q.col(r).cwiseAbs().dot(k.cwiseAbs()) + std::abs(bias);
        if (j == i) {
          own[static_cast<size_t>(r)] = {score, bound};
          continue;
        }
        result.weights(r, j) = score;
        result.score_bound(r) = std::max(result.score_bound(r), bound);
      }
    }
    for (Index r = 0; r < count; ++r) {
      normalise(result, r, queries[static_cast<size_t>(r)], own[static_cast<size_t>(r)]);
    }
    return result;
  }

 private:
  static constexpr double kNothing = -std::numeric_limits<double>::infinity();
  struct Own {
    double score = kNothing, bound = 0;
  };

  static void normalise(Rows& result, Index r, Index query, const Own& own) {
    auto row = result.weights.row(r);
    if (row.maxCoeff() == kNothing) {
      row(query) = own.score;
      result.score_bound(r) = own.bound;
    }
    normalise_row(result, r);
  }

  const Problem p_;
  const ConstTensorView queries_;
  const Index b_, head_;
  const KeyPredicate allowed_;
};

}  // namespace

std::unique_ptr<Definition> lsh_definition(const Problem& p, const LshSettings& settings,
                                           const LshHash& hash, const Inputs& inputs, Index b,
                                           Index head) {
  const auto seen = std::make_shared<SeenKeys>(p, settings, hash, inputs, b, head);
  const auto allowed = [seen](Index i, Index j) { return seen->sees(i, j); };
  if (settings.shared_qk) return std::make_unique<SharedDefinition>(p, inputs, b, head, allowed);
  return softmax_definition(p, inputs, b, head, allowed);
}

std::unique_ptr<Definition> full_shared_definition(const Problem& p, const Inputs& inputs, Index b,
                                                   Index head) {
  return std::make_unique<SharedDefinition>(p, inputs, b, head, [](Index, Index) { return true; });
}

}  // namespace longattn

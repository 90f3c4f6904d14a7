// The instrument itself: formulas that are wrong by little must be told from the variant.
#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include "tests/variants/brute_force.h"
#include "variants/blockwise.h"
#include "variants/longformer.h"

namespace longattn {
namespace {

void hold_a_window_one_token_wider() {
  Dice dice(1);
  expect_as_written_out(PatternCase{&kLongformer,
                                    square_problem(29),
                                    {{"window", "4"}},
                                    [](Index, Index t, Index j) { return std::abs(t - j) <= 5; }},
                        dice);
}

void hold_with(const std::function<void(Rows&)>& change) {
  Dice dice(1);
  const Problem p = square_problem(29);
  expect_as_written_out({&kBlockwise,
                         p,
                         {},
                         [&](const DrawnTensors& t, Index b, Index h) {
                           Rows rows = softmax_rows(p, t, b, h, [](Index, Index) { return 1; });
                           change(rows);
                           return rows;
                         }},
                        dice);
}
void hold_what_is_true() {
  hold_with([](Rows&) {});
}
void hold_a_weight_wrong_by_1e_10() {
  hold_with([](Rows& rows) { rows.weights(7, 3) += 1e-10; });
}
void hold_a_logsumexp_wrong_by_1e_10() {
  hold_with([](Rows& rows) { rows.logsumexp[28] += 1e-10; });
}
void hold_two_keys_in_the_wrong_order() {
  hold_with([](Rows& rows) { rows.weights.col(0).swap(rows.weights.col(1)); });
}

// A plan that is right in its definition and scores one part in fifty too high in forward.
class TooSharp final : public Attention {
 public:
  explicit TooSharp(const Problem& p)
      : Attention(p),
        right_(make_with(kBlockwise, p, {})),
        wrong_(make_with(kBlockwise, sharper(p), {})) {}
  std::unique_ptr<Definition> definition(const Inputs& inputs, Index b, Index h) const override {
    return right_->definition(inputs, b, h);
  }
  Cost cost(int threads) const override { return right_->cost(threads); }
  Rounding rounding() const override { return right_->rounding(); }

 private:
  static Problem sharper(Problem p) {
    p.scale = 1.02 * p.effective_scale();
    return p;
  }
  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context& context) const override {
    wrong_->forward(inputs, outputs, context);
  }
  std::unique_ptr<const Attention> right_, wrong_;
};

void hold_a_forward_that_is_too_sharp() {
  Variant stub = kBlockwise;
  stub.make = [](const Problem& p, const Options&) -> std::unique_ptr<const Attention> {
    return std::make_unique<TooSharp>(p);
  };
  Dice dice(1);
  const Problem p = square_problem(29);
  expect_as_written_out({&stub,
                         p,
                         {},
                         [&](const DrawnTensors& t, Index b, Index h) {
                           return softmax_rows(p, t, b, h, [](Index, Index) { return 1; });
                         }},
                        dice);
}

// The first failure that holding reports, or nothing.
std::string first_failure(const std::function<void()>& hold) {
  testing::TestPartResultArray failures;
  {
    const testing::ScopedFakeTestPartResultReporter reporter(
        testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &failures);
    hold();
  }
  return failures.size() > 0 ? failures.GetTestPartResult(0).message() : "";
}

TEST(WrittenOut, SeesWhatIsWrongByLittle) {
  using testing::HasSubstr;
  EXPECT_EQ(first_failure(hold_what_is_true), "");
  EXPECT_THAT(first_failure(hold_a_window_one_token_wider), HasSubstr("weights(r, j) != 0"));
  EXPECT_THAT(first_failure(hold_a_weight_wrong_by_1e_10), HasSubstr("row 21 key 3"));  // backwards
  EXPECT_THAT(first_failure(hold_a_logsumexp_wrong_by_1e_10), HasSubstr("rows.logsumexp"));
  EXPECT_THAT(first_failure(hold_two_keys_in_the_wrong_order), HasSubstr("key 0"));
  EXPECT_THAT(first_failure(hold_a_forward_that_is_too_sharp), HasSubstr("logsumexp of query 0"));
}

}  // namespace
}  // namespace longattn

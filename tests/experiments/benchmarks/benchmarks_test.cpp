#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <memory>
#include <set>
#include <string>

#include "core/error.h"
#include "experiments/benchmarks/gate.h"
#include "experiments/benchmarks/peers.h"
#include "experiments/benchmarks/reporter.h"
#include "experiments/benchmarks/subject.h"
#include "experiments/benchmarks/suite.h"
#include "variants/blockwise.h"
#include "variants/registry.h"

namespace longattn::benchmarks {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

struct ProgramResult {
  int status = -1;
  std::string out;
};

ProgramResult bench(const std::string& arguments) {
  ProgramResult result;
  FILE* pipe = popen((std::string(LONGATTN_BENCH_PROGRAM) + " " + arguments).c_str(), "r");
  if (pipe == nullptr) return result;
  char buffer[4096];
  while (const size_t count = fread(buffer, 1, sizeof buffer, pipe)) {
    result.out.append(buffer, count);
  }
  result.status = pclose(pipe);
  return result;
}

TEST(BenchmarkProgram, ListsEachBenchmarkOnceAndEveryVariantOfTheTable) {
  const ProgramResult listed = bench("--benchmark_list_tests");
  ASSERT_EQ(listed.status, 0);
  std::set<std::string> names;
  for (size_t begin = 0, end; (end = listed.out.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    EXPECT_TRUE(names.insert(listed.out.substr(begin, end - begin)).second);
  }
  for (const Variant* variant : builtin_variants()) {
    EXPECT_THAT(names, Contains(StartsWith("variant/" + std::string(variant->name) + "/float32/")));
  }
  EXPECT_THAT(names, Contains(StartsWith("engine/float32/n:4096/h:8/d:128/causal:0/threads:2")));
}

TEST(BenchmarkProgram, ShowsARowWithItsShareOfThePeak) {
  const ProgramResult run = bench(
      "--benchmark_filter=engine/float32/n:1024/h:8/d:64/causal:1/threads:2 "
      "--benchmark_repetitions=2 --benchmark_min_time=0.001 2>&1");
  EXPECT_EQ(run.status, 0) << run.out;
  EXPECT_THAT(run.out, HasSubstr("\nengine/float32/n:1024/h:8/d:64/causal:1/threads:2 "));
  EXPECT_THAT(run.out, HasSubstr(" %"));
}

TEST(BenchmarkProgram, RefusesAFilterThatMatchesNothing) {
  EXPECT_NE(bench("--benchmark_filter=no_such_benchmark 2>&1").status, 0);
}

Problem small() {
  Problem p;
  p.batch = 2;
  p.num_heads = p.num_kv_heads = 3;
  p.query_len = p.key_len = 100;
  p.head_dim = p.value_dim = 16;
  return p;
}

// The output of blockwise, ready to be spoilt.
struct Computed {
  explicit Computed(const Problem& p)
      : attention(make_attention(kBlockwise, p, Options(kBlockwise.options))),
        tensors(make_inputs(generated_input("gaussian"), p)),
        inputs{tensors.queries.view(), tensors.keys.view(), tensors.values.view(), {}},
        output({p.batch, p.num_heads, p.query_len, p.value_dim}) {
    Context context;
    attention->forward(inputs, {output.mutable_view(), {}}, context);
  }
  std::string refused(double absolute_bound = 0) const {
    return refusal(*attention, inputs, output.view(), absolute_bound);
  }
  std::unique_ptr<const Attention> attention;
  InputTensors tensors;
  Inputs inputs;
  Tensor output;
};

TEST(Gate, LetsTheEngineThrough) {
  const Computed computed(small());
  EXPECT_EQ(computed.refused(), "");
  EXPECT_EQ(computed.refused(1e-5), "");
}

TEST(Gate, RefusesAScaleThatIsTwoPercentOff) {
  Problem p = small();
  p.scale = 1.02 * p.effective_scale();
  Computed wrong(p);
  wrong.attention = make_attention(kBlockwise, small(), Options(kBlockwise.options));
  EXPECT_THAT(wrong.refused(), HasSubstr("differs from the definition"));
  EXPECT_THAT(wrong.refused(1e-5), HasSubstr("differs from the definition"));
}

TEST(Gate, RefusesOneHeadOfZeros) {
  Computed wrong(small());
  std::fill_n(wrong.output.mutable_view().row(1, 2, 0), 100 * 16, 0.0f);
  EXPECT_THAT(wrong.refused(), HasSubstr("head 2 differs"));
}

TEST(Gate, RefusesNaN) {
  Computed wrong(small());
  wrong.output.mutable_view().row(0, 0, 99)[15] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_NE(wrong.refused(), "");
  EXPECT_NE(wrong.refused(1e-5), "");
}

// Blockwise in all but its forward pass, which writes nothing.
class Silent final : public Attention {
 public:
  explicit Silent(const Problem& p)
      : Attention(p), blockwise_(make_attention(kBlockwise, p, Options(kBlockwise.options))) {}
  std::unique_ptr<Definition> definition(const Inputs& inputs, Index b, Index head) const override {
    return blockwise_->definition(inputs, b, head);
  }
  Cost cost(int threads) const override { return blockwise_->cost(threads); }

 private:
  void forward_impl(const Inputs&, const Outputs&, Context&) const override {}
  std::unique_ptr<const Attention> blockwise_;
};

TEST(Gate, RefusesAKernelThatWritesNothingWhereTheRightOutputStood) {
  Variant silent = kBlockwise;
  silent.make = [](const Problem& p, const Options&) -> std::unique_ptr<const Attention> {
    return std::make_unique<Silent>(p);
  };
  const Options options(kBlockwise.options);
  EXPECT_EQ(make_attention_subject(kBlockwise, small(), options, 1)->refusal(), "");
  EXPECT_THAT(make_attention_subject(silent, small(), options, 1)->refusal(),
              HasSubstr("differs from the definition"));
}

class WrongSubject final : public Subject {
 public:
  explicit WrongSubject(int& passes) : passes_(passes) {}
  Work work() const override { return {.flops = 1}; }
  double run() override { return ++passes_; }
  std::string refusal() override { return "wrong: everything"; }

 private:
  int& passes_;
};

TEST(RegisteredSubject, IsAnErrorRowAndNeverTimedWhenTheGateRefusesIt) {
  int passes = 0;
  register_subject("refused", small(), 1, [&] { return std::make_unique<WrongSubject>(passes); });
  Reporter reporter({});
  ::testing::internal::CaptureStdout();
  benchmark::RunSpecifiedBenchmarks(&reporter, "refused");
  const std::string table = ::testing::internal::GetCapturedStdout();
  benchmark::ClearRegisteredBenchmarks();
  EXPECT_THAT(table, HasSubstr("wrong: everything"));
  EXPECT_EQ(reporter.errors(), 1);
  EXPECT_EQ(passes, 0);
}

class FixedSubject final : public Subject {
 public:
  Work work() const override { return {.flops = 1e6}; }
  double run() override { return 0.1; }
  std::string refusal() override { return ""; }
};

TEST(Reporter, HoldsEveryPeerAgainstTheEngineAtTheSameTypeAndShape) {
  for (const char* name : {"engine/bfloat16/n:8", "engine/float32/n:8", "peer/one/bfloat16/n:8",
                           "peer/two/bfloat16/n:8", "peer/one/bfloat16/n:9"}) {
    register_subject(name, small(), 1, [] { return std::make_unique<FixedSubject>(); });
  }
  Reporter reporter({});
  ::testing::internal::CaptureStdout();
  benchmark::RunSpecifiedBenchmarks(&reporter, ".");
  const std::string table = ::testing::internal::GetCapturedStdout();
  benchmark::ClearRegisteredBenchmarks();
  EXPECT_THAT(table, HasSubstr("\none/bfloat16/n:8 "));
  EXPECT_THAT(table, HasSubstr("\ntwo/bfloat16/n:8 "));
  EXPECT_THAT(table, Not(HasSubstr("\none/bfloat16/n:9 "))) << "the engine has no such row";
}

#ifdef LONGATTN_ONEDNN

TEST(Onednn, PassesTheGate) {
  for (DType dtype : {DType::float32, DType::bfloat16}) {
    for (bool causal : {false, true}) {
      for (int threads : {1, 2}) {
        Problem p = self_attention(100, 4, 24, causal, dtype);
        p.batch = 2;
        p.num_kv_heads = 2;
        SCOPED_TRACE(shape_name(p, threads));
        try {
          EXPECT_EQ(make_onednn_subject(p, threads)->refusal(), "");
        } catch (const UnsupportedError&) {
          EXPECT_EQ(dtype, DType::bfloat16) << "which takes AVX-512";
        }
      }
    }
  }
}

TEST(Onednn, HasARowForEveryRowOfTheEngineInBfloat16) {
  const std::string listed = bench("--benchmark_list_tests").out;
  const std::string engine = "engine/bfloat16/";
  size_t rows = 0;
  for (size_t begin = 0; (begin = listed.find(engine, begin)) != std::string::npos; ++rows) {
    const size_t end = listed.find('\n', begin);
    const std::string shape = listed.substr(begin, end - begin).substr(engine.size());
    EXPECT_THAT(listed, HasSubstr("peer/onednn/bfloat16/" + shape + "\n"));
    begin = end;
  }
  EXPECT_GT(rows, 0);
}

#endif

TEST(PeerProgram, AnswersLineByLine) {
  PeerProgram echo({"cat"});
  EXPECT_EQ(echo.ask("one"), "one");
  EXPECT_EQ(echo.ask("two words"), "two words");
}

TEST(PeerProgram, ThatEndsOrFailsOrIsNotThereIsAnError) {
  PeerProgram ends({"false"}), missing({"/no/such/program"}), fails({"cat"});
  EXPECT_THROW(ends.ask("run"), Error);
  EXPECT_THROW(missing.ask("run"), Error);
  EXPECT_THROW(fails.ask("error: it broke"), Error);
  EXPECT_FALSE(fails.running());
  EXPECT_EQ(fails.ask("again"), "again") << "it is started anew";
}

}  // namespace
}  // namespace longattn::benchmarks

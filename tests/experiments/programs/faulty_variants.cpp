// The whole tool with variants that fail, each in one way: what a harness must survive.
#include <unistd.h>

#include <chrono>
#include <clocale>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <locale>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core/softmax_definition.h"
#include "experiments/cli/command_line.h"
#include "variants/full.h"

namespace {

using namespace longattn;

// Exact attention, spoilt by `spoil` after each forward pass.
template <auto spoil>
class Faulty final : public Attention {
 public:
  explicit Faulty(const Problem& p) : Attention(p), full_(make_attention(kFull, p, {})) {}
  std::unique_ptr<Definition> definition(const Inputs& inputs, Index b, Index head) const override {
    return softmax_definition(problem(), inputs, b, head);
  }
  Cost cost(int threads) const override { return full_->cost(threads); }

 private:
  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context& context) const override {
    full_->forward(inputs, outputs, context);
    spoil(inputs, outputs);
  }
  const std::unique_ptr<const Attention> full_;
};

void crash(const Inputs&, const Outputs&) { std::abort(); }
void killed(const Inputs&, const Outputs&) { std::raise(SIGKILL); }
void hang(const Inputs&, const Outputs&) {
  std::signal(SIGTERM, SIG_IGN);  // the polite request is not heard
  std::this_thread::sleep_for(std::chrono::hours(1));
}
void greedy(const Inputs&, const Outputs&) {
  std::vector<std::vector<char>> held;
  while (true) held.emplace_back(64 << 20, 'x');
}
void not_a_number(const Inputs&, const Outputs& outputs) {
  for (Index i = 0; i < outputs.output.len(); ++i) {
    *outputs.output.row(0, 0, i) = std::numeric_limits<float>::quiet_NaN();
  }
}
void wrong(const Inputs&, const Outputs& outputs) {
  for (Index i = 0; i < outputs.output.len(); ++i) *outputs.output.row(0, 0, i) *= 1.02f;
}
void throws(const Inputs&, const Outputs&) { throw std::runtime_error("a variant's own words"); }
void writes_inputs(const Inputs& inputs, const Outputs&) {
  *static_cast<float*>(const_cast<void*>(inputs.keys.data)) = 0;
}
void one_nan(const Inputs&, const Outputs& outputs) {
  *outputs.output.row(0, 1, 33) = std::numeric_limits<float>::infinity();
}
void floods(const Inputs&, const Outputs&) {
  const std::vector<char> noise(1 << 20, '\x1b');
  for (int n = 0; n < 32; ++n) std::fwrite(noise.data(), 1, noise.size(), stderr);
  std::abort();
}
// A child that outlives the worker, in its group, with its pipes open.
void leaves_child(const Inputs&, const Outputs&) {
  if (fork() == 0) {
    std::this_thread::sleep_for(std::chrono::hours(1));
    _exit(0);
  }
}
void nothing(const Inputs&, const Outputs&) {}
void chatters(const Inputs&, const Outputs&) { std::puts("noise on standard output"); }

// Not the same bits from call to call.
void wavers(const Inputs&, const Outputs& outputs) {
  static int calls = 0;
  float& first = *outputs.output.row(0, 0, 0);
  if (calls++ > 0) first = std::nextafter(first, 2.0f);
}
void writes_behind(const Inputs&, const Outputs& outputs) {
  *outputs.output.row(0, outputs.output.heads() - 1, outputs.output.len()) = 1;
}
void writes_before(const Inputs&, const Outputs& outputs) { outputs.output.data[-1] = 1; }
const void* volatile escape;  // keeps the compiler from leaving an allocation out
void allocates(const Inputs&, const Outputs&) {
  const std::vector<char> block(4 << 20, 'x');
  escape = block.data();
}

// The definition of full attention times 1.25, and an algorithm that agrees with it: its relative
// error is 0.25.
class Louder final : public Attention {
 public:
  explicit Louder(const Problem& p) : Attention(p), full_(make_attention(kFull, p, {})) {}
  std::unique_ptr<Definition> definition(const Inputs& inputs, Index b, Index head) const override {
    class Scaled final : public Definition {
     public:
      explicit Scaled(std::unique_ptr<Definition> base) : base_(std::move(base)) {}
      Rows rows(std::span<const Index> queries) const override {
        Rows rows = base_->rows(queries);
        rows.weights *= 1.25;
        return rows;
      }

     private:
      const std::unique_ptr<Definition> base_;
    };
    return std::make_unique<Scaled>(softmax_definition(problem(), inputs, b, head));
  }
  Cost cost(int threads) const override { return full_->cost(threads); }

 private:
  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context& context) const override {
    full_->forward(inputs, outputs, context);
    const TensorView& out = outputs.output;
    for (Index h = 0; h < out.heads(); ++h) {
      for (Index i = 0; i < out.len(); ++i) {
        for (Index c = 0; c < out.dim(); ++c) out.row(0, h, i)[c] *= 1.25f;
      }
    }
  }
  const std::unique_ptr<const Attention> full_;
};

// What a program that embeds the tool may do, to itself and to everything that formats numbers.
void speak_german() {
  struct German final : std::numpunct<char> {
    char do_decimal_point() const override { return ','; }
    char do_thousands_sep() const override { return '.'; }
    std::string do_grouping() const override { return "\3"; }
  };
  if (std::getenv("LONGATTN_TEST_GERMAN") == nullptr) return;
  std::setlocale(LC_ALL, "");  // LANG, where that language is installed
  std::locale::global(std::locale(std::locale(), new German));
}

template <auto spoil>
Variant faulty(std::string_view name) {
  return {.name = name,
          .summary = "fails",
          .paper = "none",
          .options = {},
          .extra = {},
          .unsupported = [](const Problem&, const Options&) -> std::string { return ""; },
          .traits = [](const Problem&, const Options&) { return Traits{.exact = true}; },
          .growth = [](const Options&) { return Growth{.time = 2, .memory = 2}; },
          .make = [](const Problem& p, const Options&) -> std::unique_ptr<const Attention> {
            return std::make_unique<Faulty<spoil>>(p);
          }};
}

// Full attention that says it is linear.
Variant understates() {
  Variant variant = faulty<nothing>("understates");
  variant.growth = [](const Options&) { return Growth{.time = 1, .memory = 1}; };
  return variant;
}

}  // namespace

int main(int argc, char** argv) {
  speak_german();
  Variant louder = faulty<chatters>("louder");
  louder.traits = [](const Problem&, const Options&) {
    return Traits{.rows = Traits::Rows::signed_};
  };
  louder.make = [](const Problem& p, const Options&) -> std::unique_ptr<const Attention> {
    return std::make_unique<Louder>(p);
  };
  const Variant all[] = {faulty<crash>("crashes"),
                         faulty<killed>("killed"),
                         faulty<hang>("hangs"),
                         faulty<greedy>("greedy"),
                         faulty<not_a_number>("nans"),
                         faulty<wrong>("wrong"),
                         faulty<throws>("throws"),
                         faulty<writes_inputs>("writes_inputs"),
                         faulty<one_nan>("one_nan"),
                         faulty<floods>("floods"),
                         faulty<leaves_child>("leaves_child"),
                         faulty<chatters>("chatters"),
                         faulty<wavers>("wavers"),
                         faulty<writes_behind>("writes_behind"),
                         faulty<writes_before>("writes_before"),
                         faulty<allocates>("allocates"),
                         louder,
                         understates()};
  std::vector<const Variant*> pointers;
  for (const Variant& variant : all) pointers.push_back(&variant);
  return run_command_line(argc, argv, pointers);
}

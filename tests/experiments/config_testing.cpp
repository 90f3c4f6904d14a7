#include "tests/experiments/config_testing.h"

#include <fstream>

#include "core/error.h"
#include "core/io/safetensors.h"

namespace longattn {
namespace {

class Nothing final : public Attention {
 public:
  Nothing(Problem problem, double workspace)
      : Attention(std::move(problem)), workspace_(workspace) {}
  std::unique_ptr<Definition> definition(const Inputs&, Index, Index) const override {
    return nullptr;
  }
  Cost cost(int threads) const override {
    const auto n = static_cast<double>(problem().key_len);
    return {.flops = 2 * n,
            .scored_pairs = n,
            .bytes_moved = 4 * n * threads,
            .workspace_bytes = workspace_};
  }

 private:
  void forward_impl(const Inputs&, const Outputs&, Context&) const override {}
  double workspace_;
};

std::string supported(const Problem&, const Options&) { return ""; }
std::string refuses_causal(const Problem& p, const Options&) {
  return p.mask.causal ? "plain has no causal form" : "";
}
Traits plain_traits(const Problem&, const Options&) { return {}; }
Growth linear(const Options&) { return {.time = 1, .memory = 1}; }

std::unique_ptr<const Attention> make_nothing(const Problem& p, const Options&) {
  return std::make_unique<Nothing>(p, 1024.0);
}
std::unique_ptr<const Attention> make_greedy(const Problem& p, const Options&) {
  const auto n = static_cast<double>(p.key_len);
  return std::make_unique<Nothing>(p, 1e9 * n * n);
}

OptionList tiny_options() {
  return {
      {.name = "window",
       .type = OptionType::integer,
       .default_value = Index{8},
       .doc = "keys on each side",
       .minimum = 0,
       .maximum = 1000,
       .nested = true},
      {.name = "ratio",
       .type = OptionType::number,
       .default_value = 0.5,
       .doc = "a share",
       .minimum = 0,
       .maximum = 1},
      {.name = "pattern",
       .type = OptionType::choice,
       .default_value = std::string("strided"),
       .doc = "which keys",
       .choices = {"strided", "fixed"}},
      {.name = "tokens",
       .type = OptionType::integers,
       .default_value = std::vector<Index>{},
       .doc = "global tokens",
       .minimum = 0},
      {.name = "tied", .type = OptionType::boolean, .default_value = true, .doc = "one or two"},
      {.name = "stride",
       .type = OptionType::integer,
       .default_value = Automatic{},
       .doc = "tokens",
       .minimum = 1,
       .may_be_auto = true},
  };
}

}  // namespace

std::vector<const Variant*> tiny_variants() {
  static const Variant kTiny = {.name = "tiny",
                                .summary = "a window",
                                .paper = "Nobody (2024)",
                                .options = tiny_options(),
                                .extra = {{"more_keys", ExtraTensor::Like::keys, "other keys"}},
                                .unsupported = supported,
                                .traits = plain_traits,
                                .growth = linear,
                                .make = make_nothing};
  static const Variant kPlain = {.name = "plain",
                                 .summary = "no options",
                                 .paper = "none",
                                 .options = {},
                                 .extra = {},
                                 .unsupported = refuses_causal,
                                 .traits = plain_traits,
                                 .growth = linear,
                                 .make = make_nothing};
  static const Variant kGreedy = {.name = "greedy",
                                  .summary = "much memory",
                                  .paper = "none",
                                  .options = {{.name = "layout",
                                               .type = OptionType::path,
                                               .default_value = std::string("even"),
                                               .doc = "which blocks",
                                               .choices = {"even", "odd"}},
                                              {.name = "span",
                                               .type = OptionType::numbers_or_path,
                                               .default_value = std::vector<double>{1},
                                               .doc = "how far"}},
                                  .extra = {},
                                  .unsupported = supported,
                                  .traits = plain_traits,
                                  .growth = linear,
                                  .make = make_greedy};
  return {&kTiny, &kPlain, &kGreedy};
}

void write_tiny_trace(const std::string& path, Index queries, Index keys) {
  constexpr Index kHeads = 4, kKvHeads = 2, kDim = 8;
  const std::vector<float> data(static_cast<size_t>(kHeads * std::max(queries, keys) * kDim), 0.5f);
  const auto bytes = std::as_bytes(std::span(data));
  std::vector<SafetensorsTensor> tensors;
  for (const std::string layer : {"layers.0.", "layers.1."}) {
    const auto add = [&](const char* name, Index heads, Index len) {
      tensors.push_back({layer + name,
                         ElementType::float32,
                         {heads, len, kDim},
                         bytes.first(static_cast<size_t>(heads * len * kDim) * sizeof(float))});
    };
    add("queries", kHeads, queries);
    add("keys", kKvHeads, keys);
    add("values", kKvHeads, keys);
  }
  write_safetensors(path, tensors, {{"scale", "0.25"}, {"causal", "true"}});
}

std::string config(std::string_view rest, std::string_view variants) {
  return "longattn: 1\nname: t\nvariants: " + std::string(variants) + "\n" + std::string(rest);
}
std::string with_gaussian(std::string_view rest, std::string_view variants) {
  return config(
      "inputs: [gaussian: {temperature: 1}]\nproblem: {lengths: [16, 32]}\n" + std::string(rest),
      variants);
}
std::string with_problem(std::string_view problem) {
  return config("inputs: [gaussian: {}]\nproblem: {lengths: 16, " + std::string(problem) + "}\n");
}
std::string with_variants(std::string_view variants) { return with_gaussian("", variants); }

Experiment read_text(const TemporaryFolder& folder, std::string_view text) {
  // Not folder.file, which waits for the disk: some tests read thousands of texts.
  const std::string path = folder / "test.yaml";
  std::ofstream(path, std::ios::binary)
      .write(text.data(), static_cast<std::streamsize>(text.size()));
  return read_experiment(path, tiny_variants());
}

std::string complaint(const TemporaryFolder& folder, std::string_view text) {
  std::string message;
  try {
    read_text(folder, text);
    return "";
  } catch (const Error& error) {
    message = error.what();
  }
  const std::string prefix = folder / "";
  for (size_t at; (at = message.find(prefix)) != std::string::npos;) {
    message.erase(at, prefix.size());
  }
  return message;
}

}  // namespace longattn

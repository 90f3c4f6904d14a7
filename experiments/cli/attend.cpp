#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "core/error.h"
#include "core/io/npy.h"
#include "core/io/safetensors.h"
#include "core/io/text.h"
#include "experiments/cli/attend_request.h"
#include "experiments/cli/commands.h"
#include "experiments/exit_codes.h"

namespace longattn {
namespace {

constexpr const char* kFooter = R"(
Tensors: [batch, heads, len, dim], [heads, len, dim] or [len, dim]; float64, float32, float16, and
bfloat16 in .safetensors. The heads of keys and values may divide those of the queries (grouped
heads). The output is float32 with as many axes as the queries, written under a temporary name and
renamed when complete.

A trace (--input) holds layers.L.queries, layers.L.keys and layers.L.values. Its metadata `scale`
and `causal` are the defaults of --scale and --causal; --no-causal switches it off.

Examples:
  longattn attend full --queries q.npy --keys k.npy --values v.npy --output o.npy --causal
  longattn attend longformer --set window=128 --set global_tokens=[0] \
      --queries q.npy --keys k.npy --values v.npy --output o.npy --logsumexp l.npy
  longattn attend blockwise --input trace.safetensors --layer 2 --output o.safetensors --logsumexp
  longattn attend longformer --input trace.safetensors --weights w.npy --rows 0,17,42

Next: `longattn describe VARIANT` shows the options for --set, `longattn inspect FILE` what a file
holds.)";

bool ends_with_safetensors(const std::string& path) { return path.ends_with(".safetensors"); }

// Refuses what cannot be written before anything is computed.
void check_outputs(const AttendFlags& flags) {
  if (flags.output.empty() && flags.weights.empty() && flags.logsumexp.value_or("").empty()) {
    throw OptionError("--output is missing: nothing would be written");
  }
  if (flags.logsumexp == "" && !ends_with_safetensors(flags.output)) {
    throw OptionError(
        "--logsumexp without a file name goes into a .safetensors output; here it "
        "needs one: --logsumexp l.npy");
  }
  if (!flags.output.empty() && !flags.output.ends_with(".npy") &&
      !ends_with_safetensors(flags.output)) {
    throw OptionError(
        fmt::format("--output is '{}', expected a name that ends in .npy or "
                    ".safetensors",
                    printable(flags.output)));
  }
  std::vector<std::string> paths = {flags.output, flags.weights, flags.logsumexp.value_or("")};
  std::erase(paths, "");
  for (const auto& [name, path] : {std::pair("--weights", flags.weights),
                                   std::pair("--logsumexp", flags.logsumexp.value_or(""))}) {
    if (!path.empty() && !path.ends_with(".npy")) {
      throw OptionError(
          fmt::format("{} is '{}', expected a name that ends in .npy", name, printable(path)));
    }
    if (std::ranges::count(paths, path) > 1) {
      throw OptionError(
          fmt::format("{} is '{}', which another output has too", name, printable(path)));
    }
  }
  for (const std::string& path : paths) check_can_create(path);
}

std::span<const float> elements(const Tensor& tensor) {
  return {tensor.floats(), static_cast<size_t>(tensor.size())};
}

// Without its last axis, which is 1: [batch, heads, len].
std::vector<Index> logsumexp_shape(const Tensor& logsumexp, int axes) {
  std::vector<Index> shape = shape_with_axes(logsumexp.shape(), axes);
  shape.pop_back();
  return shape;
}

void write_outputs(const AttendFlags& flags, const AttendRequest& request, const Tensor& output,
                   const Tensor& logsumexp) {
  const std::vector<Index> shape = shape_with_axes(output.shape(), request.axes);
  if (ends_with_safetensors(flags.output)) {
    std::vector<SafetensorsTensor> tensors;
    tensors.push_back({"output", ElementType::float32, shape, std::as_bytes(elements(output))});
    if (!logsumexp.empty()) {
      tensors.push_back({"logsumexp", ElementType::float32,
                         logsumexp_shape(logsumexp, request.axes),
                         std::as_bytes(elements(logsumexp))});
    }
    write_safetensors(flags.output, std::move(tensors));
  } else if (!flags.output.empty()) {
    write_npy(flags.output, shape, elements(output));
  }
  if (!flags.logsumexp.value_or("").empty()) {
    write_npy(*flags.logsumexp, logsumexp_shape(logsumexp, request.axes), elements(logsumexp));
  }
}

// Row by row, so that a long definition needs no more memory than a few of its rows.
void write_weights(const std::string& path, const AttendRequest& request,
                   const Attention& attention, const Inputs& inputs) {
  const Problem& p = request.problem;
  const std::array<Index, 4> shape = {p.batch, p.num_heads, static_cast<Index>(request.rows.size()),
                                      p.key_len};
  NpyWriter writer(path, shape, ElementType::float64);
  constexpr size_t kRowsAtOnce = 16;
  std::vector<double> row(static_cast<size_t>(p.key_len));
  for (Index b = 0; b < p.batch; ++b) {
    for (Index head = 0; head < p.num_heads; ++head) {
      const std::unique_ptr<Definition> definition = attention.definition(inputs, b, head);
      for (size_t first = 0; first < request.rows.size(); first += kRowsAtOnce) {
        const auto queries =
            std::span(request.rows)
                .subspan(first, std::min(kRowsAtOnce, request.rows.size() - first));
        const Rows rows = definition->rows(queries);
        for (Index r = 0; r < rows.weights.rows(); ++r) {
          for (Index key = 0; key < p.key_len; ++key) {
            row[static_cast<size_t>(key)] = rows.weights(r, key);
          }
          writer.write(std::span<const double>(row));
        }
      }
    }
  }
  writer.commit();
}

int attend(const AttendFlags& flags, const std::vector<const Variant*>& variants) {
  const AttendRequest request = read_request(flags, variants);
  const Problem& p = request.problem;
  std::vector<NamedTensor> extra;
  for (const OwnedTensor& tensor : request.extra) {
    extra.push_back({tensor.name, tensor.tensor.view()});
  }
  const Inputs inputs{request.queries.view(), request.keys.view(), request.values.view(), extra};
  check_extra(*request.variant, p, inputs);
  const auto attention = make_attention(*request.variant, p, request.options);
  if (flags.logsumexp && !attention->has_logsumexp()) {
    throw UnsupportedError(fmt::format("{}: --logsumexp: its weights are not a softmax over keys",
                                       request.variant->name));
  }
  check_outputs(flags);
  for (const std::string& note : request.notes) fmt::print(stderr, "longattn: note: {}\n", note);

  if (!flags.output.empty() || flags.logsumexp) {
    Tensor output({p.batch, p.num_heads, p.query_len, p.value_dim});
    Tensor logsumexp;
    if (flags.logsumexp) logsumexp = Tensor({p.batch, p.num_heads, p.query_len, 1});
    Context context(request.threads);
    attention->forward(
        inputs,
        {output.mutable_view(), logsumexp.empty() ? TensorView{} : logsumexp.mutable_view()},
        context);
    write_outputs(flags, request, output, logsumexp);
  }
  if (!flags.weights.empty()) write_weights(flags.weights, request, *attention, inputs);
  return kExitOk;
}

}  // namespace

void add_attend(CLI::App& app, const Invocation& invocation, Action& chosen) {
  const auto flags = std::make_shared<AttendFlags>();
  CLI::App* command =
      app.add_subcommand("attend", "Computes attention on your own tensors with one variant");
  command->footer(kFooter);
  command->add_option("variant", flags->variant, "Which variant: see `longattn list`")
      ->required()
      ->type_name("VARIANT");
  const auto text = [&](const char* name, std::string& target, const char* doc, const char* type) {
    return command->add_option(name, target, doc)->type_name(type);
  };
  text("--queries", flags->queries, "Queries", "Q.npy");
  text("--keys", flags->keys, "Keys", "K.npy");
  text("--values", flags->values, "Values", "V.npy");
  text("--input", flags->input, "A trace with all three, instead", "T.safetensors");
  text("--layer", flags->layer, "Which layer of the trace (default 0)", "L");
  text("--output", flags->output, "Where the output goes: .npy, or .safetensors (tensor `output`)",
       "FILE");
  command
      ->add_option_function<std::vector<std::string>>(
          "--logsumexp",
          [flags](const std::vector<std::string>& given) {
            flags->logsumexp = given.empty() ? "" : given.front();
          },
          "Also log(sum exp(scores)) per query, [batch, heads, len]; without a file name it goes "
          "into the .safetensors output")
      ->expected(0, 1)
      ->type_name("L.npy");
  text("--weights", flags->weights,
       "The variant's definition: weights W with output = W values, float64 [batch, heads, rows, "
       "key_len]",
       "W.npy");
  text("--rows", flags->rows, "Query rows for --weights (default: all)", "0,17,42");
  command->add_option("--set", flags->set, "An option of the variant; may be repeated")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false);
  command->add_flag_callback(
      "--causal", [flags] { flags->causal = true; },
      "Query i sees key j only if j <= i + key_len - query_len");
  command->add_flag_callback(
      "--no-causal", [flags] { flags->causal = false; }, "Not causal, whatever the trace says");
  text("--scale", flags->scale, "Factor on the products q.k (default 1/sqrt(head_dim))", "S");
  text("--key-lengths", flags->key_lengths,
       "Per batch entry, keys that are not padding: those from there on are never read", "100,80");
  text("--threads", flags->threads,
       "Threads (default: all cores); the bits of the result do not depend on it", "T");
  text("--seed", flags->seed, "Sets the option `seed`; refused by variants without one", "S");
  text("--global-queries", flags->global_queries,
       "Queries of a separate projection for global tokens (Longformer), shaped like queries",
       "GQ.npy");
  text("--global-keys", flags->global_keys, "The same for keys", "GK.npy");
  text("--global-values", flags->global_values, "The same for values", "GV.npy");
  command->callback([&chosen, flags, variants = invocation.variants] {
    chosen = [flags, variants] { return attend(*flags, variants); };
  });
}

}  // namespace longattn

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "core/parameter_count.h"
#include "experiments/cli/commands.h"
#include "experiments/exit_codes.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const ModelShape& s, const ParameterTable& table) {
  Json rows = Json::array();
  for (const ParameterRow& row : table.rows) {
    rows.push_back({{"part", row.part},
                    {"factors", row.factors},
                    {"matrices", row.matrices},
                    {"parameters", row.parameters}});
  }
  return {{"model_dim", s.model_dim},
          {"head_dim", s.head_dim},
          {"value_dim", s.value_dim},
          {"num_heads", s.num_heads},
          {"num_kv_heads", s.num_kv_heads},
          {"layers", s.layers},
          {"feed_forward_dim", s.feed_forward_dim},
          {"vocabulary", s.vocabulary},
          {"parts", rows},
          {"matrices", table.matrices},
          {"attention", table.attention},
          {"total", table.total}};
}

void print(const ParameterTable& table) {
  const auto line = [](std::string_view part, std::string_view formula, Index parameters) {
    fmt::print("{:<18} {:<26} {:>19}\n", part, formula, grouped(parameters));
  };
  for (const ParameterRow& row : table.rows) {
    std::string formula;
    for (Index factor : row.factors) {
      formula += (formula.empty() ? "" : " x ") + grouped(factor);
    }
    line(row.part, formula, row.parameters);
  }
  line("Total", fmt::format("{} matrices", grouped(table.matrices)), table.total);
  const double share = static_cast<double>(table.attention) / static_cast<double>(table.total);
  line("of it attention", fmt::format("{:.1f} %", 100 * share), table.attention);
}

}  // namespace

void add_parameters(CLI::App& app, const Invocation&, Action& chosen) {
  struct Flags {
    ModelShape shape;
    bool json = false;
  };
  const auto flags = std::make_shared<Flags>();
  ModelShape& s = flags->shape;
  CLI::App* command =
      app.add_subcommand("parameters", "Count the parameters of a transformer, part by part");
  const auto size = [&](const char* name, Index& target, const char* doc) {
    return command->add_option(name, target, doc)->capture_default_str()->type_name("N");
  };
  size("--model-dim", s.model_dim, "floats of an embedding");
  size("--head-dim", s.head_dim, "floats of a query and of a key");
  size("--value-dim", s.value_dim, "floats of a value: the rank of the value map");
  size("--heads", s.num_heads, "query heads a layer");
  CLI::Option* kv_heads =
      command
          ->add_option("--kv-heads", s.num_kv_heads,
                       "key and value heads a layer; default: as many as --heads")
          ->type_name("N");
  size("--layers", s.layers, "layers");
  size("--feed-forward-dim", s.feed_forward_dim, "neurons of a feed-forward layer");
  size("--vocabulary", s.vocabulary, "tokens");
  command->add_flag("--json", flags->json, "for programs");
  command->footer(R"(
Defaults are GPT-3's. Biases, normalisation and position embeddings are not counted. The value map of
a head is two thin matrices: value down, and value up, which for all heads of a layer is one output
matrix.

Example:
  longattn parameters --heads 32 --kv-heads 8 --layers 32 --model-dim 4096 --feed-forward-dim 14336)");
  command->callback([&chosen, flags, kv_heads] {
    if (kv_heads->count() == 0) flags->shape.num_kv_heads = flags->shape.num_heads;
    chosen = [flags]() -> int {
      const ParameterTable table = count_parameters(flags->shape);
      if (flags->json) {
        fmt::print("{}\n", to_json(flags->shape, table).dump(2));
      } else {
        print(table);
      }
      return kExitOk;
    };
  });
}

}  // namespace longattn

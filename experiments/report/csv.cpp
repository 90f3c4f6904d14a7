#include "experiments/report/csv.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "experiments/report/judgements.h"
#include "experiments/report/table_row.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

void add_costs(const CellResult& result, TableRow& row) {
  const auto& time = result.time_s;
  row.add("time_median_s", time ? Field(time->value) : Field());
  row.add("time_low_s", time ? Field(time->low) : Field());
  row.add("time_high_s", time ? Field(time->high) : Field());
  row.add("rounds", static_cast<Index>(result.round_seconds.size()));
  row.add("few_rounds", result.few_rounds);
  row.add("disturbed_rounds", result.disturbed_rounds);
  row.add_bytes("workspace_bytes", result.workspace_bytes);
  row.add_bytes("workspace_predicted_bytes", result.workspace_predicted_bytes);
  row.add_bytes("heap_peak_bytes", result.heap_peak_bytes);
  row.add_bytes("rss_peak_bytes", result.rss_peak_bytes);
  row.add_optional("flops", result.flops);
  row.add_optional("scored_pairs", result.scored_pairs);
}

void add_errors(const CellResult& result, TableRow& row) {
  row.add_interval("relative_error", result.relative_error);
  row.add_interval("own_relative_error", result.own_relative_error);
  row.add_optional("relative_error_floor", result.relative_error_floor);
  row.add_interval("row_error_median", result.row_error_median);
  row.add_optional("row_error_worst", result.row_error_worst);
  row.add_optional("max_abs_error", result.max_abs_error);
  row.add_interval("captured_mass", result.captured_mass);
  row.add_optional("causal_sees_future", result.causal_sees_future);
  row.add("declared_exact", result.declared_exact);
  row.add_optional("implementation_ratio", result.implementation_ratio);
  row.add_optional("gate_resolution", result.gate_resolution);
  row.add("output_hash", result.output_hash.empty() ? Field() : Field(result.output_hash));
  row.add("nondeterministic", result.nondeterministic);
  row.add("sampled_rows", result.sampled_rows > 0 ? Field(result.sampled_rows) : Field());
  row.add_optional("growth_time", result.growth_time);
  row.add_optional("growth_memory", result.growth_memory);
  row.add_optional("mean_value_error", result.mean_value_error);
  row.add_optional("oracle_error", result.oracle_error);
  row.add_optional("row_error_pinned", result.row_error_pinned);
  row.add_optional("value_contrast", result.value_contrast);
  row.add_optional("total_variation", result.total_variation);
  row.add_optional("kl_divergence", result.kl_divergence);
  row.add_optional("top_recall", result.top_recall);
  row.add_optional("row_entropy", result.row_entropy);
  row.add_optional("uncovered_rows", result.uncovered_rows);
  row.add_optional("seeds", result.seeds);
  row.add_optional("seed_error_mean", result.seed_error_mean);
  row.add_optional("seed_error_worst", result.seed_error_worst);
  row.add_optional("seed_bias", result.seed_bias);
  row.add_optional("seed_spread", result.seed_spread);
}

// The columns that differ from run to run: names in order of first appearance.
struct NamesOfRun {
  explicit NamesOfRun(const RunResults& results) {
    for (const CellResult& result : results.cells) {
      for (const auto& [name, value] : result.cell.options) add(name, options);
      for (const PlanFigure& figure : result.figures) add(figure.name, figures);
      for (const PlanFigure& figure : result.measured) add(figure.name, measured);
    }
  }
  static void add(const std::string& name, std::vector<std::string>& names) {
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  }
  std::vector<std::string> options, figures, measured;
};

std::string spaced(const std::vector<double>& values) {
  std::string text;
  for (const double value : values) text += (text.empty() ? "" : " ") + exact(value);
  return text;
}

using Standings = std::map<const CellResult*, Standing>;

Standings standings_of(const RunResults& results) {
  Standings found;
  for (const Block& block : arrange(results)) {
    for (const Index length : block.lengths) {
      for (const auto& [series, result, standing] : standings(block, length)) {
        found[result] = standing;
      }
    }
  }
  return found;
}

TableRow make_row(const RunResults& results, const CellResult& result, const NamesOfRun& names,
                  const Standings& standings) {
  TableRow row;
  row.add("cell_id", result.cell.id);
  row.add("variant", result.cell.variant);
  row.add("status", std::string(to_string(result.status)));
  row.add("reason", result.reason.empty() ? Field() : Field(result.reason));
  row.add("remark", result.cell.remark.empty() ? Field() : Field(result.cell.remark));
  row.add_problem(result.cell);
  for (const std::string& name : names.options) {
    const auto option =
        std::ranges::find(result.cell.options, name, &std::pair<std::string, std::string>::first);
    row.add("option." + name, option == result.cell.options.end() ? Field() : option->second);
  }
  add_costs(result, row);
  const auto add_figure = [&](const std::string& prefix, const std::string& name,
                              const std::vector<PlanFigure>& figures) {
    const auto figure = std::ranges::find(figures, name, &PlanFigure::name);
    row.add(prefix + name, figure == figures.end() ? Field() : Field(spaced(figure->values)));
  };
  for (const std::string& name : names.figures) add_figure("plan.", name, result.figures);
  for (const std::string& name : names.measured) add_figure("measured.", name, result.measured);
  add_errors(result, row);
  const auto standing = standings.find(&result);
  row.add("pareto",
          standing == standings.end() ? Field() : Field(std::string(to_string(standing->second))));
  row.add("command", repeat_command(results, result.cell));
  row.add("schema_version", kResultsSchema);
  return row;
}

TableRow make_input_row(const Cell& cell, const InputResult& input) {
  TableRow row;
  row.add_problem(cell);
  row.add("generator", cell.input.is_trace() ? Field() : Field(cell.input.generator));
  row.add("target", input.target.empty() ? Field() : Field(input.target));
  row.add_optional("asked", input.asked);
  row.add_interval("score_deviation", input.score_deviation);
  row.add_interval("row_entropy", input.row_entropy);
  row.add_optional("uniform_entropy", input.uniform_entropy);
  row.add_interval("half_mass_distance", input.half_mass_distance);
  row.add_interval("first_tokens_mass", input.first_tokens_mass);
  row.add_optional("effective_rank", input.effective_rank);
  row.add_interval("planted_mass", input.planted_mass);
  row.add("sampled_rows", input.sampled_rows);
  return row;
}

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"') result += '"';
    result += c;
  }
  return result + '"';
}

struct CsvText {
  std::string operator()(std::monostate) const { return ""; }
  std::string operator()(bool truth) const { return truth ? "true" : "false"; }
  std::string operator()(Index number) const { return std::to_string(number); }
  std::string operator()(double number) const { return exact(number); }
  std::string operator()(const std::string& text) const { return quoted(text); }
};

using Json = nlohmann::ordered_json;

struct JsonValue {
  Json operator()(std::monostate) const { return nullptr; }
  template <class T>
  Json operator()(const T& value) const {
    return value;
  }
};

Json json_object(const ResultTable& table, const std::vector<Field>& row) {
  Json object, not_finite;
  for (size_t n = 0; n < row.size(); ++n) {
    const double* number = std::get_if<double>(&row[n]);
    if (number != nullptr && !std::isfinite(*number)) {
      object[table.columns[n]] = nullptr;
      not_finite[table.columns[n]] = exact(*number);
    } else {
      object[table.columns[n]] = std::visit(JsonValue{}, row[n]);
    }
  }
  if (!not_finite.empty()) object["not_finite"] = std::move(not_finite);
  return object;
}

std::string dumped(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

ResultTable result_table(const RunResults& results) {
  const NamesOfRun names(results);
  ResultTable table;
  const Standings standings = standings_of(results);
  table.columns = make_row(results, CellResult{}, names, standings).names;
  for (const CellResult& result : results.cells) {
    table.rows.push_back(make_row(results, result, names, standings).values);
  }
  return table;
}

ResultTable sample_table(const RunResults& results) {
  ResultTable table;
  table.columns = {"cell_id", "round", "time_s", "schema_version"};
  for (const CellResult& result : results.cells) {
    Index round = 0;
    for (const double seconds : result.round_seconds) {
      table.rows.push_back({result.cell.id, ++round, seconds, kResultsSchema});
    }
  }
  return table;
}

ResultTable inputs_table(const RunResults& results) {
  ResultTable table;
  table.columns = make_input_row(Cell{}, InputResult{}).names;
  for (const InputResult& input : results.inputs) {
    const CellResult* cell = results.find(input.cell_id);
    if (cell != nullptr) table.rows.push_back(make_input_row(cell->cell, input).values);
  }
  return table;
}

std::string to_csv(const ResultTable& table) {
  std::string text;
  for (const std::string& column : table.columns) {
    if (!text.empty()) text += ',';
    text += quoted(column);
  }
  text += "\r\n";
  for (const auto& row : table.rows) {
    for (size_t n = 0; n < row.size(); ++n) {
      if (n > 0) text += ',';
      text += std::visit(CsvText{}, row[n]);
    }
    text += "\r\n";
  }
  return text;
}

std::string to_json_lines(const ResultTable& table) {
  std::string text;
  for (const auto& row : table.rows) text += dumped(json_object(table, row), -1);
  return text;
}

std::string to_json_text(const ResultTable& table) {
  Json rows = Json::array();
  for (const auto& row : table.rows) rows.push_back(json_object(table, row));
  return dumped(rows, 2);
}

std::string repeat_command(const RunResults& results, const Cell& cell) {
  return fmt::format("{} --cell {}", results.command, cell.id);
}

}  // namespace longattn

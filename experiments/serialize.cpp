#include "experiments/serialize.h"

#include <cmath>
#include <limits>
#include <stdexcept>

namespace longattn {

using nlohmann::json;

namespace {

// JSON has no infinity; a ratio may well be infinite.
json number(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

double number_from(const json& value) {
  if (!value.is_string()) return value.get<double>();
  const auto text = value.get<std::string>();
  if (text == "inf") return std::numeric_limits<double>::infinity();
  if (text == "-inf") return -std::numeric_limits<double>::infinity();
  return std::numeric_limits<double>::quiet_NaN();
}

std::vector<Index> integers_from(const json& in) {
  std::vector<Index> integers;
  for (const json& value : in) integers.push_back(integer_from(value));
  return integers;
}

template <class T>
T enumerator(std::optional<T> value, const json& text) {
  if (!value) throw std::invalid_argument("unknown word " + text.dump());
  return *value;
}

using OptionTexts = std::vector<std::pair<std::string, std::string>>;

json options_to_json(const OptionTexts& options) {
  json out = json::array();
  for (const auto& [name, text] : options) out.push_back({name, text});
  return out;
}

OptionTexts options_from_json(const json& in) {
  OptionTexts options;
  for (const json& option : in) {
    options.emplace_back(option.at(0).get<std::string>(), option.at(1).get<std::string>());
  }
  return options;
}

// One list of fields for both directions.
template <class Result, class Visit>
void for_each_measurement(Result& r, Visit visit) {
  visit("time_s", r.time_s);
  visit("workspace_bytes", r.workspace_bytes);
  visit("workspace_predicted_bytes", r.workspace_predicted_bytes);
  visit("heap_peak_bytes", r.heap_peak_bytes);
  visit("rss_peak_bytes", r.rss_peak_bytes);
  visit("flops", r.flops);
  visit("scored_pairs", r.scored_pairs);
  visit("implementation_ratio", r.implementation_ratio);
  visit("gate_resolution", r.gate_resolution);
  visit("relative_error", r.relative_error);
  visit("own_relative_error", r.own_relative_error);
  visit("relative_error_floor", r.relative_error_floor);
  visit("mean_value_error", r.mean_value_error);
  visit("oracle_error", r.oracle_error);
  visit("row_error_median", r.row_error_median);
  visit("row_error_worst", r.row_error_worst);
  visit("row_error_pinned", r.row_error_pinned);
  visit("max_abs_error", r.max_abs_error);
  visit("captured_mass", r.captured_mass);
  visit("value_contrast", r.value_contrast);
  visit("total_variation", r.total_variation);
  visit("kl_divergence", r.kl_divergence);
  visit("top_recall", r.top_recall);
  visit("row_entropy", r.row_entropy);
  visit("uncovered_rows", r.uncovered_rows);
  visit("seeds", r.seeds);
  visit("seed_error_mean", r.seed_error_mean);
  visit("seed_error_worst", r.seed_error_worst);
  visit("seed_bias", r.seed_bias);
  visit("seed_spread", r.seed_spread);
  visit("causal_sees_future", r.causal_sees_future);
  visit("growth_time", r.growth_time);
  visit("growth_memory", r.growth_memory);
}

template <class Result, class Visit>
void for_each_input_measure(Result& r, Visit visit) {
  visit("score_deviation", r.score_deviation);
  visit("row_entropy", r.row_entropy);
  visit("uniform_entropy", r.uniform_entropy);
  visit("half_mass_distance", r.half_mass_distance);
  visit("first_tokens_mass", r.first_tokens_mass);
  visit("effective_rank", r.effective_rank);
  visit("planted_mass", r.planted_mass);
  visit("asked", r.asked);
}

template <class Result, class Visit>
void for_each_head_measure(Result& r, Visit visit) {
  visit("row_entropy", r.row_entropy);
  visit("first_tokens_mass", r.first_tokens_mass);
  visit("effective_rank", r.effective_rank);
  visit("window_99", r.window_99);
}

json interval(const Estimate& e) { return {number(e.value), number(e.low), number(e.high)}; }

Estimate interval_from(const json& three) {
  return {number_from(three.at(0)), number_from(three.at(1)), number_from(three.at(2))};
}

struct Write {
  json& out;
  void operator()(const char* name, const std::optional<double>& value) const {
    if (value) out[name] = number(*value);
  }
  void operator()(const char* name, const std::optional<Estimate>& value) const {
    if (value) out[name] = interval(*value);
  }
};

struct Read {
  const json& in;
  void operator()(const char* name, std::optional<double>& value) const {
    if (in.contains(name)) value = number_from(in.at(name));
  }
  void operator()(const char* name, std::optional<Estimate>& value) const {
    if (in.contains(name)) value = interval_from(in.at(name));
  }
};

}  // namespace

Index integer_from(const json& value) {
  if (!value.is_number_integer()) {
    throw std::invalid_argument("expected an integer, found " + value.dump());
  }
  return value.get<Index>();
}

json to_json(const Problem& p) {
  json out = {
      {"batch", p.batch},         {"num_heads", p.num_heads},    {"num_kv_heads", p.num_kv_heads},
      {"query_len", p.query_len}, {"key_len", p.key_len},        {"head_dim", p.head_dim},
      {"value_dim", p.value_dim}, {"dtype", to_string(p.dtype)}, {"causal", p.mask.causal}};
  if (p.scale) out["scale"] = *p.scale;
  if (!p.mask.key_lengths.empty()) out["key_lengths"] = p.mask.key_lengths;
  if (!p.mask.document_ids.empty()) out["document_ids"] = p.mask.document_ids;
  if (!p.mask.alibi_slopes.empty()) out["alibi_slopes"] = p.mask.alibi_slopes;
  return out;
}

Problem problem_from_json(const json& in) {
  Problem p;
  p.batch = integer_from(in.at("batch"));
  p.num_heads = integer_from(in.at("num_heads"));
  p.num_kv_heads = integer_from(in.at("num_kv_heads"));
  p.query_len = integer_from(in.at("query_len"));
  p.key_len = integer_from(in.at("key_len"));
  p.head_dim = integer_from(in.at("head_dim"));
  p.value_dim = integer_from(in.at("value_dim"));
  p.dtype = enumerator(dtype_from_string(in.at("dtype").get<std::string>()), in.at("dtype"));
  p.mask.causal = in.at("causal");
  if (in.contains("scale")) p.scale = in.at("scale").get<double>();
  if (in.contains("key_lengths")) p.mask.key_lengths = integers_from(in.at("key_lengths"));
  if (in.contains("document_ids")) {
    p.mask.document_ids = integers_from(in.at("document_ids"));
  }
  if (in.contains("alibi_slopes")) {
    p.mask.alibi_slopes = in.at("alibi_slopes").get<std::vector<double>>();
  }
  validate(p);
  return p;
}

json to_json(const Cell& cell) {
  json input = {{"label", cell.input.label}, {"hash", cell.input_hash}};
  if (cell.input.is_trace()) {
    input["path"] = cell.input.path;
    input["layer"] = cell.input.layer;
  } else {
    input["generator"] = cell.input.generator;
    input["options"] = options_to_json(cell.input.options);
  }
  json out = {{"id", cell.id},
              {"input", input},
              {"variant", cell.variant},
              {"options", options_to_json(cell.options)},
              {"problem", to_json(cell.problem)},
              {"threads", cell.threads}};
  if (!cell.remark.empty()) out["remark"] = cell.remark;
  return out;
}

Cell cell_from_json(const json& in) {
  Cell cell;
  cell.id = in.at("id");
  const json& input = in.at("input");
  cell.input.label = input.at("label");
  cell.input_hash = input.at("hash");
  if (input.contains("generator")) {
    cell.input.generator = input.at("generator");
    cell.input.options = options_from_json(input.at("options"));
  } else {
    cell.input.path = input.at("path");
    cell.input.layer = integer_from(input.at("layer"));
  }
  cell.variant = in.at("variant");
  cell.options = options_from_json(in.at("options"));
  if (in.contains("remark")) cell.remark = in["remark"];
  cell.problem = problem_from_json(in.at("problem"));
  cell.threads = static_cast<int>(integer_from(in.at("threads")));
  return cell;
}

json to_json(const Measure& m) {
  return {{"rounds", m.rounds},
          {"min_time_s", m.min_time_s},
          {"max_time_s", m.max_time_s},
          {"error_rows", m.error_rows},
          {"error_budget", m.error_budget},
          {"seeds", m.seeds},
          {"time", m.time},
          {"memory", m.memory},
          {"error", m.error},
          {"patterns", m.patterns}};
}

Measure measure_from_json(const json& in) {
  Measure m;
  m.rounds = in.at("rounds");
  m.min_time_s = in.at("min_time_s");
  m.max_time_s = in.at("max_time_s");
  m.error_rows = in.at("error_rows");
  m.error_budget = in.value("error_budget", m.error_budget);  // not in folders before 0.2
  m.seeds = in.at("seeds");
  m.time = in.at("time");
  m.memory = in.at("memory");
  m.error = in.at("error");
  m.patterns = in.at("patterns");
  return m;
}

json measurements_to_json(const CellResult& result) {
  json out = {{"status", to_string(result.status)}};
  if (!result.reason.empty()) out["reason"] = result.reason;
  if (!result.round_seconds.empty()) out["round_seconds"] = result.round_seconds;
  if (result.few_rounds) out["few_rounds"] = true;
  if (result.disturbed_rounds > 0) out["disturbed_rounds"] = result.disturbed_rounds;
  if (!result.output_hash.empty()) out["output_hash"] = result.output_hash;
  if (result.nondeterministic) out["nondeterministic"] = true;
  if (result.sampled_rows > 0) out["sampled_rows"] = result.sampled_rows;
  if (result.declared_exact) out["declared_exact"] = true;
  for (const PlanFigure& figure : result.figures) out["figures"][figure.name] = figure.values;
  for (const PlanFigure& figure : result.measured) out["measured"][figure.name] = figure.values;
  for (const Estimate& error : result.head_errors) out["head_errors"].push_back(interval(error));
  for_each_measurement(result, Write{out});
  return out;
}

void apply_measurements(const json& in, CellResult& result) {
  result.status =
      enumerator(status_from_string(in.at("status").get<std::string>()), in.at("status"));
  if (in.contains("reason")) result.reason = in.at("reason");
  if (in.contains("round_seconds")) {
    for (double seconds : in.at("round_seconds").get<std::vector<double>>()) {
      result.round_seconds.push_back(seconds);
    }
  }
  if (in.contains("disturbed_rounds")) {
    result.disturbed_rounds += integer_from(in.at("disturbed_rounds"));
  }
  if (in.contains("output_hash")) {
    const auto hash = in.at("output_hash").get<std::string>();
    if (result.output_hash.empty()) result.output_hash = hash;
    if (result.output_hash != hash) result.nondeterministic = true;
  }
  if (in.contains("sampled_rows")) result.sampled_rows = integer_from(in.at("sampled_rows"));
  if (in.contains("declared_exact")) result.declared_exact = in.at("declared_exact");
  if (in.contains("figures")) {
    result.figures.clear();
    for (const auto& [name, values] : in.at("figures").items()) {
      result.figures.push_back({name, values.get<std::vector<double>>()});
    }
  }
  if (in.contains("measured")) {
    for (const auto& [name, values] : in.at("measured").items()) {
      std::erase_if(result.measured,
                    [&, name = name](const PlanFigure& old) { return old.name == name; });
      result.measured.push_back({name, values.get<std::vector<double>>()});
    }
  }
  if (in.contains("head_errors")) {
    result.head_errors.clear();
    for (const json& error : in.at("head_errors")) {
      result.head_errors.push_back(interval_from(error));
    }
  }
  for_each_measurement(result, Read{in});
}

json to_json(const InputResult& result) {
  json out = {{"id", result.cell_id},
              {"sampled_rows", result.sampled_rows},
              {"planted", result.planted},
              {"target", result.target}};
  for_each_input_measure(result, Write{out});
  for (const HeadMeasures& head : result.heads) {
    json one = {{"sampled_rows", head.sampled_rows}, {"window_mass", json::array()}};
    for (const double mass : head.window_mass) one["window_mass"].push_back(number(mass));
    for_each_head_measure(head, Write{one});
    out["heads"].push_back(std::move(one));
  }
  return out;
}

InputResult input_from_json(const json& in) {
  InputResult result;
  result.cell_id = in.at("id");
  result.sampled_rows = integer_from(in.at("sampled_rows"));
  result.planted = in.at("planted");
  result.target = in.at("target");
  for_each_input_measure(result, Read{in});
  for (const json& one : in.value("heads", json::array())) {
    HeadMeasures head;
    head.sampled_rows = integer_from(one.at("sampled_rows"));
    for (const json& mass : one.at("window_mass")) head.window_mass.push_back(number_from(mass));
    if (!head.window_mass.empty() && head.window_mass.size() != kMassWindows.size()) {
      throw std::invalid_argument("masses within " + std::to_string(head.window_mass.size()) +
                                  " windows, expected " + std::to_string(kMassWindows.size()));
    }
    for_each_head_measure(head, Read{one});
    result.heads.push_back(std::move(head));
  }
  return result;
}

}  // namespace longattn

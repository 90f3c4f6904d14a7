#include "experiments/report/inputs.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <set>

#include "experiments/report/text.h"

namespace longattn {
namespace {

// Columns of the page's table; whether they hold text.
constexpr std::array<std::pair<const char*, bool>, 11> kHeads = {{{"input", true},
                                                                  {"length", false},
                                                                  {"target", true},
                                                                  {"asked", false},
                                                                  {"measured", false},
                                                                  {"row entropy", false},
                                                                  {"if uniform", false},
                                                                  {"score deviation", false},
                                                                  {"half-mass distance", false},
                                                                  {"first 4 tokens", false},
                                                                  {"effective rank", false}}};

std::string figure(const std::optional<Estimate>& estimate) {
  if (!estimate) return "?";
  const std::string half = half_width(*estimate);
  return three_digits(estimate->value) + (half.empty() ? "" : " " + half);
}

// The figure that was asked for, as it was measured.
std::optional<Estimate> measured(const InputResult& input) {
  if (input.target == "score_deviation") return input.score_deviation;
  if (input.target == "half_mass_distance") return input.half_mass_distance;
  if (input.target == "planted_mass") return input.planted_mass;
  if (input.target != "effective_rank" || !input.effective_rank) return std::nullopt;
  return Estimate{*input.effective_rank, *input.effective_rank, *input.effective_rank};
}

// "score deviation", "mass of its needles".
std::string target_name(const InputResult& input) {
  if (input.target == "planted_mass") return "mass of its " + one_line(input.planted);
  std::string name = one_line(input.target);
  for (char& c : name) {
    if (c == '_') c = ' ';
  }
  return name;
}

std::string text_cell(const std::string& text) {
  return fmt::format("<td class=\"text\">{}</td>", html(text));
}

std::string number_cell(const std::optional<Estimate>& estimate) {
  if (!estimate) return "<td class=\"none\">–</td>";
  return fmt::format("<td title=\"{0} [{1}, {2}]\">{3}</td>", exact(estimate->value),
                     exact(estimate->low), exact(estimate->high), html(figure(estimate)));
}

std::string number_cell(const std::optional<double>& value) {
  if (!value) return number_cell(std::optional<Estimate>());
  return fmt::format("<td title=\"{0}\">{1}</td>", exact(*value), three_digits(*value));
}

}  // namespace

std::string input_sentence(const RunResults& results, const Block& block) {
  const InputResult* longest = nullptr;
  Index length = 0;
  for (const InputResult& input : results.inputs) {
    const CellResult* cell = results.find(input.cell_id);
    if (cell == nullptr || one_line(cell->cell.input.label) != block.input) continue;
    const Index key_len = cell->cell.problem.key_len;
    if (longest != nullptr && key_len <= length) continue;
    longest = &input;
    length = key_len;
  }
  if (longest == nullptr) return "";
  const InputResult& input = *longest;
  std::string text = fmt::format("The input at {} tokens: ", grouped(length));
  if (input.asked) {
    text += fmt::format("{} {} (asked: {}); ", target_name(input), figure(measured(input)),
                        three_digits(*input.asked));
  }
  text += fmt::format("row entropy {} of {} nats", figure(input.row_entropy),
                      input.uniform_entropy ? three_digits(*input.uniform_entropy) : "?");
  if (input.half_mass_distance && input.target != "half_mass_distance") {
    text += fmt::format(", half of a row's mass within {} tokens",
                        grouped(std::llround(input.half_mass_distance->value)));
  }
  if (input.first_tokens_mass) {
    text += fmt::format(", {:.1f}% on the first 4", 100 * input.first_tokens_mass->value);
  }
  if (input.score_deviation && input.target != "score_deviation") {
    text += ", score deviation " + three_digits(input.score_deviation->value);
  }
  if (input.effective_rank && input.target != "effective_rank") {
    text += ", effective rank " + three_digits(*input.effective_rank);
  }
  return text + ".";
}

std::string input_table(const RunResults& results, const std::vector<Block>& blocks) {
  std::set<const InputResult*> shown;  // one may be in several blocks
  for (const Block& block : blocks) {
    for (const auto& [length, input] : block.inputs) shown.insert(input);
  }
  std::string rows;
  for (const InputResult& input : results.inputs) {
    if (!shown.contains(&input)) continue;
    const CellResult* cell = results.find(input.cell_id);
    const auto length = static_cast<double>(cell->cell.problem.key_len);
    rows += "<tr>" + text_cell(cell->cell.input.label);
    rows +=
        fmt::format("<td title=\"{}\">{}</td>", exact(length), grouped(cell->cell.problem.key_len));
    rows += text_cell(input.asked ? target_name(input) : "–");
    rows += number_cell(input.asked) + number_cell(measured(input));
    rows += number_cell(input.row_entropy) + number_cell(input.uniform_entropy);
    rows += number_cell(input.score_deviation) + number_cell(input.half_mass_distance);
    rows += number_cell(input.first_tokens_mass) + number_cell(input.effective_rank) + "</tr>\n";
  }
  if (rows.empty()) return "";
  std::string text =
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Inputs\">"
      "<table><thead><tr>";
  for (const auto& [head, is_text] : kHeads) {
    text += fmt::format("<th{} scope=\"col\">{}</th>", is_text ? " class=\"text\"" : "", head);
  }
  return text + "</tr></thead><tbody>\n" + rows + "</tbody></table></div>\n";
}

}  // namespace longattn

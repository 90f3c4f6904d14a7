#include "experiments/report/heads.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "experiments/judge/errors.h"
#include "experiments/report/table_row.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

bool has_heads(const CellResult& result) {
  return result.status == Status::ok && result.time_s &&
         static_cast<Index>(result.head_errors.size()) == result.cell.problem.num_heads;
}

std::string percent(double part) { return fmt::format("{:.3g} %", 100 * part); }

// "0.11 of full's time", or the time itself where full has none.
std::string price(const Block& block, const CellResult& result) {
  const CellResult* full = baseline(block, result.cell.problem.key_len);
  if (full == nullptr) return duration(result.time_s->value);
  return fmt::format("{:.2g} of full's time", result.time_s->value / full->time_s->value);
}

// "longformer window=128 (0.8 %, 0.11 of full's time)", the error being the worst of these heads.
std::string choice_text(const Block& block, const HeadChoice& choice, double error,
                        const char* how = "") {
  if (choice.series == nullptr) return "none of those measured";
  const std::string paid = price(block, *choice.result);
  if (!choice.result->declared_exact) {
    return fmt::format("{} ({}{}, {})", choice.series->label, how, percent(error), paid);
  }
  return choice.approximation ? fmt::format("{} (exact, {})", choice.series->label, paid)
                              : fmt::format("none of the approximations measured; exact by {} ({})",
                                            choice.series->label, paid);
}

// The rows of one head that were sampled, by those of a cell that has no figures of heads.
std::string too_few_rows(const Block& block) {
  for (const Series& series : block.series) {
    const CellResult* result = at_length(series, block.longest());
    if (result == nullptr || result->sampled_rows == 0) continue;
    if (has_heads(*result) || result->status != Status::ok) return "";
    const Index heads = result->cell.problem.num_heads;
    return fmt::format(
        "Heads are not judged one by one: {} sampled rows are about {} a head; {} a head are "
        "needed (measure.error_rows: {}).",
        result->sampled_rows, result->sampled_rows / heads, kFewestHeadRows,
        kFewestHeadRows * heads);
  }
  return "";
}

}  // namespace

std::vector<HeadChoice> head_choices(const Block& block, Index length) {
  std::vector<HeadChoice> choices;
  for (const Series& series : block.series) {
    const CellResult* result = at_length(series, length);
    if (result == nullptr || is_null_baseline(series.variant) || !has_heads(*result)) continue;
    choices.resize(result->head_errors.size());
    for (size_t h = 0; h < choices.size(); ++h) {
      if (!(result->head_errors[h].high <= block.error_budget)) continue;
      HeadChoice& choice = choices[h];
      choice.approximation = choice.approximation || !result->declared_exact;
      if (choice.result != nullptr && choice.result->time_s->value <= result->time_s->value) {
        continue;
      }
      choice.series = &series;
      choice.result = result;
    }
  }
  return choices;
}

std::string heads_sentence(const Block& block) {
  const auto is_judged_approximation = [&](const Series& series) {
    const CellResult* result = at_length(series, block.longest());
    return result != nullptr && !result->declared_exact && result->relative_error &&
           !is_null_baseline(series.variant) && result->cell.problem.num_heads > 1;
  };
  if (std::ranges::none_of(block.series, is_judged_approximation)) return "";
  const std::vector<HeadChoice> choices = head_choices(block, block.longest());
  if (choices.empty()) return too_few_rows(block);
  std::vector<std::string> parts;
  std::vector<bool> told(choices.size(), false);
  for (size_t h = 0; h < choices.size(); ++h) {
    if (told[h]) continue;
    std::vector<size_t> alike;
    double worst = 0;
    for (size_t k = h; k < choices.size(); ++k) {
      if (choices[k].result != choices[h].result ||
          choices[k].approximation != choices[h].approximation) {
        continue;
      }
      told[k] = true;
      alike.push_back(k);
      if (choices[k].result != nullptr) {
        worst = std::max(worst, choices[k].result->head_errors[k].value);
      }
    }
    parts.push_back(
        fmt::format("head{} {}: {}", alike.size() == 1 ? "" : "s", fmt::join(alike, ", "),
                    choice_text(block, choices[h], worst, alike.size() == 1 ? "" : "at worst ")));
  }
  return fmt::format(
      "The cheapest way at {} tokens to a relative error of at most {} in each head: {}.",
      grouped(block.longest()), percent(block.error_budget), fmt::join(parts, "; "));
}

TextTable heads_overview(const Block& block) {
  const Index length = block.longest();
  TextTable table;
  table.name = fmt::format(
      "Heads at {} tokens, full attention on sampled rows, and the cheapest "
      "setting within {} relative error",
      grouped(length), percent(block.error_budget));
  table.heads = {"head", "entropy (nats)", "first 4 tokens"};
  std::vector<size_t> windows;  // that are not all of the sequence
  for (size_t n = 0; n < kMassWindows.size(); ++n) {
    if (kMassWindows[n] >= length) continue;
    windows.push_back(n);
    table.heads.push_back("within " + grouped(kMassWindows[n]));
  }
  table.heads.insert(table.heads.end(), {"window of 99 %", "effective rank", "cheapest"});
  const InputResult* input = input_at(block, length);
  const std::vector<HeadChoice> choices = head_choices(block, length);
  const size_t count = input == nullptr ? choices.size() : input->heads.size();
  const auto text = [](const std::optional<double>& value) {
    return value ? three_digits(*value) : std::string("–");
  };
  const auto share = [](double part) { return fmt::format("{:.1f}%", 100 * part); };
  for (size_t h = 0; h < count; ++h) {
    const HeadMeasures head = input == nullptr ? HeadMeasures{} : input->heads[h];
    std::vector<std::string> row = {std::to_string(h), text(head.row_entropy),
                                    head.first_tokens_mass ? share(*head.first_tokens_mass) : "–"};
    for (const size_t n : windows) {
      row.push_back(head.window_mass.empty() ? "–" : share(head.window_mass[n]));
    }
    row.push_back(head.window_99 ? grouped(static_cast<Index>(*head.window_99)) : "–");
    row.push_back(text(head.effective_rank));
    const HeadChoice choice = h < choices.size() ? choices[h] : HeadChoice{};
    const double error = choice.result == nullptr ? 0 : choice.result->head_errors[h].value;
    row.push_back(choices.empty() ? "–" : choice_text(block, choice, error));
    table.rows.push_back(std::move(row));
  }
  return table;
}

namespace {

TableRow make_row(const Block& block, const Series& series, const CellResult& result, size_t head,
                  const HeadChoice& choice) {
  TableRow row;
  row.add("cell_id", result.cell.id);
  row.add("variant", result.cell.variant);
  row.add("label", series.label);
  row.add_problem(result.cell);
  row.add("head", static_cast<Index>(head));
  const auto error =
      head < result.head_errors.size() ? std::optional(result.head_errors[head]) : std::nullopt;
  row.add_interval("relative_error", error);
  row.add("error_budget", block.error_budget);
  row.add("within_budget", error ? Field(error->high <= block.error_budget) : Field());
  row.add("cheapest_within_budget", choice.result == &result);
  row.add_optional("time_median_s",
                   result.time_s ? std::optional(result.time_s->value) : std::nullopt);
  const auto speed = speed_against_full(block, result);
  row.add_optional("time_of_full_share", speed ? std::optional(1 / speed->value) : std::nullopt);
  const InputResult* input =
      block.lengths.empty() ? nullptr : input_at(block, result.cell.problem.key_len);
  const HeadMeasures measures =
      input != nullptr && head < input->heads.size() ? input->heads[head] : HeadMeasures{};
  row.add("sampled_rows", measures.sampled_rows > 0 ? Field(measures.sampled_rows) : Field());
  row.add_optional("row_entropy", measures.row_entropy);
  row.add_optional("first_tokens_mass", measures.first_tokens_mass);
  for (size_t n = 0; n < kMassWindows.size(); ++n) {
    row.add("mass_within_" + std::to_string(kMassWindows[n]),
            measures.window_mass.empty() ? Field() : Field(measures.window_mass[n]));
  }
  row.add_optional("window_99", measures.window_99);
  row.add_optional("effective_rank", measures.effective_rank);
  row.add("schema_version", kResultsSchema);
  return row;
}

}  // namespace

ResultTable heads_table(const RunResults& results) {
  ResultTable table;
  table.columns = make_row(Block{}, Series{}, CellResult{}, 0, {}).names;
  for (const Block& block : arrange(results)) {
    for (const Index length : block.lengths) {
      const std::vector<HeadChoice> choices = head_choices(block, length);
      for (const Series& series : block.series) {
        const CellResult* result = at_length(series, length);
        if (result == nullptr) continue;
        for (size_t h = 0; h < result->head_errors.size(); ++h) {
          const HeadChoice choice = h < choices.size() ? choices[h] : HeadChoice{};
          table.rows.push_back(make_row(block, series, *result, h, choice).values);
        }
      }
    }
  }
  return table;
}

}  // namespace longattn

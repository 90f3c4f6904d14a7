#include "experiments/check/check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "experiments/cli/commands.h"
#include "experiments/exit_codes.h"

namespace longattn {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kHelp =
    R"(Conformance. A variant is its definition (rows of weights W, in double) and its
algorithm (forward, in float). It also declares what is true of it: that its
rows are a softmax on fewer keys, that no future token reaches an output, that
it is exact, what scratch memory it takes. `check` holds all of that against
laws, on the shapes where attention goes wrong and on the edges of every option:

  - forward must equal W V within rounding, by a tolerance that is derived from
    the number of roundings and never tuned;
  - the bits must not depend on threads, strides, padding, other batch entries,
    or on what is masked, even where that is NaN;
  - what is declared must hold, to 1e-12, on the definition.

A law that does not concern a variant does not run; a case that the variant
refuses (with a reason) is counted, not failed. Exit code 0: every law holds;
1: some law is broken; 2: no such variant.

  longattn check longformer              one variant
  longattn check --all --thorough        everything, every option on every shape
  longattn check my_variant --law future --verbose)";

struct CheckRequest {
  std::vector<std::string> names;
  bool all = false, json = false, verbose = false;
  CheckSettings settings;
};

std::vector<const Variant*> chosen_variants(const CheckRequest& request,
                                            const std::vector<const Variant*>& table) {
  if (request.all && !request.names.empty()) {
    throw OptionError("check: give names of variants or --all, not both");
  }
  if (request.all) return table;
  if (request.names.empty()) throw OptionError("check: give names of variants, or --all");
  std::vector<const Variant*> chosen;
  for (const std::string& name : request.names) {
    const Variant* variant = find_variant(table, name);
    if (variant == nullptr) {
      std::vector<std::string> known;
      for (const Variant* row : table) known.emplace_back(row->name);
      const std::string close = closest_name(name, known);
      throw OptionError(fmt::format("no variant '{}'{}", name,
                                    close.empty()
                                        ? fmt::format("; there are {}", fmt::join(known, ", "))
                                        : fmt::format("; did you mean '{}'?", close)));
    }
    if (std::ranges::find(chosen, variant) == chosen.end()) chosen.push_back(variant);
  }
  return chosen;
}

void require_known_laws(const std::vector<std::string>& names) {
  std::vector<std::string> known;
  for (const LawTally& law : law_names()) known.emplace_back(law.law);
  for (const std::string& name : names) {
    if (std::ranges::find(known, name) != known.end()) continue;
    const std::string close = closest_name(name, known);
    throw OptionError(fmt::format("no law '{}'{}", name,
                                  close.empty()
                                      ? fmt::format("; there are {}", fmt::join(known, ", "))
                                      : fmt::format("; did you mean '{}'?", close)));
  }
}

Index total_failed(const CheckReport& report) {
  Index failed = 0;
  for (const LawTally& law : report.laws) failed += law.failed;
  return failed;
}

void print_report(const CheckReport& report, bool verbose) {
  fmt::print("{}: {}\n", report.variant,
             report.passed()
                 ? fmt::format("conforms, {} cases", report.cases)
                 : fmt::format("{} violations in {} cases", total_failed(report), report.cases));
  for (const std::string& note : report.notes) fmt::print("  note: {}\n", note);
  fmt::print("  {:<12} {:>6} {:>7} {:>7}\n", "law", "run", "passed", "failed");
  for (const LawTally& law : report.laws) {
    fmt::print("  {:<12} {:>6} {:>7} {:>7}  {}\n", law.law, law.run,
               std::max<Index>(law.run - law.failed, 0), law.failed,
               law.run == 0 ? "(did not concern it)" : law.sentence);
  }
  if (verbose) {
    for (const auto& [reason, count] : report.refused) {
      fmt::print("  refused {} times: {}\n", count, reason);
    }
  } else if (!report.refused.empty()) {
    Index count = 0;
    for (const auto& [reason, times] : report.refused) count += times;
    fmt::print("  refused {} more cases (--verbose says why)\n", count);
  }
  for (const BrokenLaw& violation : report.violations) {
    fmt::print("\n  {} is broken\n    on    {}\n    found {}\n", violation.law, violation.problem,
               violation.detail);
  }
  fmt::print("\n");
  std::fflush(stdout);
}

Json to_json(const CheckReport& report) {
  Json json = {{"variant", report.variant},  {"conforms", report.passed()},
               {"cases", report.cases},      {"notes", report.notes},
               {"laws", Json::array()},      {"refused", Json::array()},
               {"violations", Json::array()}};
  for (const LawTally& law : report.laws) {
    json["laws"].push_back(
        {{"law", law.law}, {"sentence", law.sentence}, {"run", law.run}, {"failed", law.failed}});
  }
  for (const auto& [reason, count] : report.refused) {
    json["refused"].push_back({{"reason", reason}, {"cases", count}});
  }
  for (const BrokenLaw& violation : report.violations) {
    json["violations"].push_back(
        {{"law", violation.law}, {"problem", violation.problem}, {"detail", violation.detail}});
  }
  return json;
}

int check(CheckRequest request, const std::vector<const Variant*>& table) {
  require_known_laws(request.settings.laws);
  if (request.verbose) request.settings.findings_per_law = 20;
  bool conforms = true;
  Json reports = Json::array();
  for (const Variant* variant : chosen_variants(request, table)) {
    const CheckReport report = check_variant(*variant, request.settings);
    conforms = conforms && report.passed();
    if (request.json) {
      reports.push_back(to_json(report));
    } else {
      print_report(report, request.verbose);
    }
  }
  if (request.json) fmt::print("{}\n", reports.dump(2, ' ', false, Json::error_handler_t::replace));
  return conforms ? kExitOk : kExitFailedCells;
}

}  // namespace

void add_check(CLI::App& app, const Invocation& invocation, Action& chosen) {
  CLI::App* command = app.add_subcommand("check", "Holds variants to what they declare");
  const auto request = std::make_shared<CheckRequest>();
  command->add_option("VARIANT", request->names, "Names of variants (see: longattn list)");
  command->add_flag("--all", request->all, "Every variant");
  command->add_flag("--thorough", request->settings.thorough,
                    "Every setting of the options on every shape, at two temperatures (minutes)");
  command->add_option("--law", request->settings.laws, "Only this law; may be repeated");
  command->add_flag("--json", request->json, "One JSON array on standard output");
  command->add_flag("--verbose", request->verbose, "More violations, and why cases were refused");
  command->footer(kHelp);
  const std::vector<const Variant*> table = invocation.variants;
  command->callback(
      [request, table, &chosen] { chosen = [request, table] { return check(*request, table); }; });
}

}  // namespace longattn

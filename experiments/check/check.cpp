#include "experiments/check/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "experiments/check/case.h"
#include "experiments/check/laws.h"
#include "experiments/check/option_settings.h"
#include "experiments/check/shapes.h"
#include "experiments/measure/heap_counter.h"

namespace longattn {
namespace {

class Check {
 public:
  Check(const Variant& variant, const CheckSettings& settings)
      : variant_(variant), settings_(settings) {
    report_.variant = variant.name;
    for (const Law& law : conformance_laws()) {
      if (wanted(law)) report_.laws.push_back({law.name, law.sentence});
    }
  }

  CheckReport run() {
    const std::vector<Options> all =
        option_settings(variant_.options, std::max<Index>(settings_.max_settings, 1));
    const std::vector<Shape> shapes = conformance_shapes();
    for (size_t n = 0; n < all.size() && !done(); ++n) {
      for (const Shape& shape : shapes) {
        if (done()) break;
        const bool defaults = n == 0;
        if (!defaults && (shape.long_sequence || !(shape.broad || settings_.thorough))) continue;
        check_shape(all[n], shape);
        if (settings_.thorough && !shape.long_sequence && !done()) {
          Shape sharp = shape;
          sharp.name += ", sharp";
          sharp.temperature = shape.temperature == 1 ? 4 : 1;
          check_shape(all[n], sharp);
        }
      }
    }
    if (!done()) require_laws();
    if (sees_future_) report_.notes.push_back("chooses keys by looking at the future");
    if (!heap_counting_available()) {
      report_.notes.push_back("this build cannot count heap memory: the law 'heap' did not run");
    }
    return std::move(report_);
  }

 private:
  bool wanted(const Law& law) const {
    return settings_.laws.empty() ||
           std::ranges::find(settings_.laws, law.name) != settings_.laws.end();
  }
  bool done() const { return settings_.stop_at_first && !report_.violations.empty(); }

  LawTally& tally(std::string_view law) {
    return *std::ranges::find(report_.laws, law, &LawTally::law);
  }

  void add_violation(std::string_view law, const std::string& problem, const std::string& detail) {
    LawTally& count = tally(law);
    ++count.failed;
    if (count.failed > settings_.findings_per_law) return;
    report_.violations.push_back({std::string(law), problem, detail});
  }

  void check_shape(const Options& options, const Shape& shape) {
    const std::string reason = variant_.unsupported(shape.problem, options);
    if (!reason.empty()) {
      ++report_.refused[reason];
      return;
    }
    check_case(options, shape, false);
    if (!variant_.extra.empty() && !shape.long_sequence && !done()) {
      check_case(options, shape, true);
    }
  }

  void check_case(const Options& options, const Shape& shape, bool with_extra) {
    const std::string problem =
        fmt::format("{} ({}); {}{}", shape.name, describe(shape.problem), describe(options),
                    with_extra ? "; with its extra tensors" : "");
    std::optional<Case> made;
    ++report_.cases;
    try {
      made.emplace(variant_, options, shape, with_extra);
    } catch (const std::exception& error) {
      if (!report_.laws.empty()) {
        add_violation(report_.laws.front().law, problem,
                      fmt::format("is not refused, but making the plan throws: {}", error.what()));
      }
      return;
    }
    sees_future_ =
        sees_future_ || (shape.problem.mask.causal &&
                         made->traits.causality == Traits::Causality::selection_sees_future);
    for (const Law& law : conformance_laws()) {
      if (done()) return;
      if (!wanted(law) || (shape.long_sequence && !law.long_too)) continue;
      hold(law, *made, problem);
    }
  }

  void hold(const Law& law, const Case& c, const std::string& problem) {
    try {
      if (!law.applies(c)) return;
      ++tally(law.name).run;
      if (const Violation violation = law.run(c)) add_violation(law.name, problem, *violation);
    } catch (const std::exception& error) {
      add_violation(law.name, problem, fmt::format("throws: {}", error.what()));
    }
  }

  // A variant that refuses everything breaks no law, and conforms to none.
  void require_laws() {
    for (const Law& law : conformance_laws()) {
      if (!law.every_variant || !wanted(law) || tally(law.name).run > 0) continue;
      add_violation(law.name, "all shapes and settings", "never ran: no problem was accepted");
    }
  }

  const Variant& variant_;
  const CheckSettings& settings_;
  CheckReport report_;
  bool sees_future_ = false;
};

}  // namespace

std::vector<LawTally> law_names() {
  std::vector<LawTally> names;
  for (const Law& law : conformance_laws()) names.push_back({law.name, law.sentence});
  return names;
}

CheckReport check_variant(const Variant& variant, const CheckSettings& settings) {
  return Check(variant, settings).run();
}

}  // namespace longattn

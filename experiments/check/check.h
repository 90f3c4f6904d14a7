#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/variant.h"

namespace longattn {

/// One law broken in one case.
struct BrokenLaw {
  std::string law;
  std::string problem;  ///< the shape's name, the problem, and the options
  std::string detail;   ///< what was found and what was expected, both numbers
};

/// What became of one law.
struct LawTally {
  std::string_view law, sentence;
  Index run = 0, failed = 0;
};

/// The outcome of holding one variant against all laws.
struct CheckReport {
  std::string variant;
  Index cases = 0;                       ///< problems x settings that were accepted
  std::map<std::string, Index> refused;  ///< reasons of `unsupported`, and how often
  std::vector<LawTally> laws;            ///< in the order of conformance_laws()
  std::vector<BrokenLaw> violations;     ///< the first few of each law; LawTally counts all of them
  std::vector<std::string> notes;        ///< what a reader should know, and is no violation

  bool passed() const { return violations.empty(); }
};

struct CheckSettings {
  /// Every setting on every shape, at two temperatures; else other settings than the defaults only
  /// on a third of the shapes.
  bool thorough = false;
  Index max_settings = 24;        ///< of options, the defaults included
  Index findings_per_law = 3;     ///< kept in the report
  std::vector<std::string> laws;  ///< only these; empty: all
  bool stop_at_first = false;     ///< at the first violation
};

/// Every law with its sentence, nothing counted.
std::vector<LawTally> law_names();

/// Holds a variant against every law on every shape and setting that it accepts. What throws is a
/// violation, and so is a law for every variant that never ran: nothing to check is not
/// conformance.
CheckReport check_variant(const Variant& variant, const CheckSettings& settings = {});

}  // namespace longattn

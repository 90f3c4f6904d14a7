#pragma once

#include <string>
#include <vector>

#include "experiments/rehearsal.h"
#include "experiments/report/csv.h"

namespace longattn {

/// One row each: what was assumed, predicted and, if `with_measured`, measured.
ResultTable rehearsal_table(const std::vector<Rehearsal>& all, bool with_measured);
/// The same for a terminal.
std::string rehearsal_text(const std::vector<Rehearsal>& all);

}  // namespace longattn

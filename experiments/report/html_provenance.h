#pragma once

#include <string>

#include "experiments/report/html.h"

namespace longattn {

/// The page's last section: what made the figures, the commands that repeat them, the
/// configuration, and the figures themselves to take along, in the page or in the files beside it.
std::string provenance_section(const RunResults& results, const PageParts& parts);

}  // namespace longattn

#pragma once

#include <string>
#include <vector>

#include "experiments/cell.h"

namespace longattn {

/// The arguments as a shell reads them back.
std::string command_text(const std::vector<std::string>& arguments);

/// As results_from_folder; warns of a record that was torn when the run was killed.
RunResults read_results(const std::string& folder);

/// What is made of results.
struct Presentation {
  bool report = true;  ///< results.csv, plots and report.html in the folder
  bool json = false;   ///< on standard output instead of the table
};

/// Writes the report, prints the table and names the files. What was measured is printed even when
/// the report fails; then throws what the report threw.
void present(const RunResults& results, const Presentation& presentation);

/// 1 when a cell has failed, else 0.
int exit_code_of(const RunResults& results);

}  // namespace longattn

#pragma once

#include <string>
#include <variant>
#include <vector>

#include "experiments/cell.h"

namespace longattn {

/// A value of results.csv: not measured, a truth, a whole number, a number, or text.
using Field = std::variant<std::monostate, bool, Index, double, std::string>;

/// One row per cell, in plan order; every row has as many fields as there are columns. Seconds,
/// bytes; `<metric>_low` and `<metric>_high` bound the 95 % interval.
struct ResultTable {
  std::vector<std::string> columns;
  std::vector<std::vector<Field>> rows;
};
ResultTable result_table(const RunResults& results);

/// RFC 4180: commas, CRLF, quotes doubled, one header line. Text is kept byte for byte. Numbers are
/// the shortest that read back as the same double; an empty field was not measured.
std::string to_csv(const ResultTable& table);
/// An array with one object per row; null was not measured, and a number that is not finite is
/// text.
std::string to_json_text(const ResultTable& table);

}  // namespace longattn

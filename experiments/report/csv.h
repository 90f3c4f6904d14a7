#pragma once

#include <string>
#include <variant>
#include <vector>

#include "experiments/cell.h"

namespace longattn {

/// Of results.csv, results.jsonl and samples.csv: raised when a column changes its meaning or goes,
/// not when one is added.
inline constexpr Index kResultsSchema = 1;

/// A value of results.csv or another table: not measured, a truth, a whole number, a number, or
/// text.
using Field = std::variant<std::monostate, bool, Index, double, std::string>;

/// One row per cell, in plan order; every row has as many fields as there are columns. Seconds,
/// bytes; `<metric>_low` and `<metric>_high` bound the 95 % interval. The columns are the same for
/// every run, but for one `option.<name>` for each option of its variants and one `plan.<name>` for
/// each figure that they alone know, its parts apart by spaces.
struct ResultTable {
  std::vector<std::string> columns;
  std::vector<std::vector<Field>> rows;
};
ResultTable result_table(const RunResults& results);
/// One row per input and Problem: what was measured of it (experiments/judge/inputs.h), the name of
/// the figure that its generator promises, and the value asked for.
ResultTable inputs_table(const RunResults& results);
/// Every timed round: cell_id, round (from 1), time_s, schema_version.
ResultTable sample_table(const RunResults& results);

/// RFC 4180: commas, CRLF, quotes doubled, one header line. Text is kept byte for byte. Numbers are
/// the shortest that read back as the same double; an empty field was not measured.
std::string to_csv(const ResultTable& table);
/// Strict JSON (RFC 8259), one object per row and line. null was not measured (`status` and
/// `reason` say why), or is not finite: then `not_finite` holds its name and text ("inf", "nan").
/// Bytes that are not UTF-8 become U+FFFD.
std::string to_json_lines(const ResultTable& table);
/// The same objects as an array.
std::string to_json_text(const ResultTable& table);

/// The command that measures one cell again, alone.
std::string repeat_command(const RunResults& results, const Cell& cell);

}  // namespace longattn

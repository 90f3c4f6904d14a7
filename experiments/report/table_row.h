#pragma once

#include <string>
#include <utility>
#include <vector>

#include "experiments/report/csv.h"

namespace longattn {

/// One row of a ResultTable under construction; the first row of all gives the columns their names.
class TableRow {
 public:
  void add(std::string name, Field value) {
    names.push_back(std::move(name));
    values.push_back(std::move(value));
  }
  void add_optional(std::string name, const std::optional<double>& value) {
    add(std::move(name), value ? Field(*value) : Field());
  }
  /// A whole number where it is one.
  void add_bytes(std::string name, const std::optional<double>& value);
  /// `name`, `name`_low and `name`_high.
  void add_interval(const std::string& name, const std::optional<Estimate>& estimate);
  /// Which input and Problem a cell is about, and its threads.
  void add_problem(const Cell& cell);

  std::vector<std::string> names;
  std::vector<Field> values;
};

}  // namespace longattn

#pragma once

#include <optional>
#include <span>
#include <string>

#include "experiments/report/layout.h"

namespace longattn {

/// A figure as people read it.
struct Shown {
  std::string text;                ///< "12.3 ms"; empty: not measured
  std::string half;                ///< "±0.8%": half of the 95 % interval; mostly empty
  std::optional<Estimate> figure;  ///< in full
};

/// A column of figures in the tables that people read: terminal, page, Markdown and LaTeX.
struct ShownColumn {
  const char* head;
  const char* meaning;  ///< one line
  bool narrow;          ///< also where there is no room for all: everywhere but on the page
  Shown (*show)(const Block& block, const CellResult& result);
};

/// In reading order, between the variant's label and the status.
std::span<const ShownColumn> shown_columns();

/// What the error of an approximation is made of and read against: a table of its own.
std::span<const ShownColumn> error_columns();

}  // namespace longattn

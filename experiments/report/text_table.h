#pragma once

#include <string>
#include <vector>

namespace longattn {

/// A small table of words and figures, the same on the page, in Markdown and in LaTeX. Its texts
/// are plain: each rendering escapes them.
struct TextTable {
  std::string name;                ///< what it shows, one line
  std::vector<std::string> heads;  ///< of the columns
  bool words = false;              ///< in every column; else in the first and the last one
  std::vector<std::vector<std::string>> rows;  ///< each as long as heads
};

inline constexpr size_t kLatexRows = 48;  ///< of a page

// Empty where there are no rows. In LaTeX a long one goes on in further tables.
std::string html_table(const TextTable& table);
std::string markdown_table(const TextTable& table);
std::string latex_table(const TextTable& table);

}  // namespace longattn

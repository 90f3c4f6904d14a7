#include "experiments/report/shared_drawings.h"

#include <fmt/format.h>

namespace longattn {

std::string SharedDrawings::use(const std::string& part) {
  const auto [at, fresh] = parts_.try_emplace(part, parts_.size());
  return fmt::format("<use href=\"#d{}\"/>", at->second);
}

std::string SharedDrawings::svg() const {
  std::string text = "<svg class=\"shared\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>";
  for (const auto& [part, number] : parts_)
    text += fmt::format("<g id=\"d{}\">{}</g>", number, part);
  text += "</defs>";
  for (const std::string& elements : elements_) text += elements;
  return text + "</svg>\n";
}

}  // namespace longattn

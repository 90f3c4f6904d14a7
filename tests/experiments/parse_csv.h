#pragma once

#include <string>
#include <vector>

namespace longattn {

/// Of RFC 4180, by its own rules and not by ours.
inline std::vector<std::vector<std::string>> parse_csv(const std::string& text) {
  std::vector<std::vector<std::string>> rows(1, {""});
  bool quoted = false;
  for (size_t n = 0; n < text.size(); ++n) {
    const char c = text[n];
    if (quoted) {
      if (c != '"') {
        rows.back().back() += c;
      } else if (n + 1 < text.size() && text[n + 1] == '"') {
        rows.back().back() += text[n++];
      } else {
        quoted = false;
      }
    } else if (c == '"') {
      quoted = true;
    } else if (c == ',') {
      rows.back().emplace_back();
    } else if (c == '\r' && n + 1 < text.size() && text[n + 1] == '\n') {
      ++n;
      rows.push_back({""});
    } else {
      rows.back().back() += c;
    }
  }
  rows.pop_back();
  return rows;
}

}  // namespace longattn

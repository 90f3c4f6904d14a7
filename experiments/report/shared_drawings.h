#pragma once

#include <map>
#include <set>
#include <string>

namespace longattn {

/// Parts of drawings that stand on a page once and are shown in many places.
class SharedDrawings {
 public:
  /// The element that shows this part of an <svg>.
  std::string use(const std::string& part);
  /// Elements that are shown by ids which they have already. Equal ones are kept once.
  void add(const std::string& elements) { elements_.insert(elements); }
  /// All of them, in an <svg> without size.
  std::string svg() const;

 private:
  std::map<std::string, size_t> parts_;  // and their numbers
  std::set<std::string> elements_;
};

}  // namespace longattn

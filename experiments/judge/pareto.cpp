#include "experiments/judge/pareto.h"

#include <algorithm>
#include <cassert>

namespace longattn {
namespace {

// How a stands to b: does it dominate it by value, and surely?
Standing under(const Costs& a, const Costs& b) {
  assert(a.size() == b.size());
  bool somewhere = false, surely = false;
  for (size_t n = 0; n < a.size(); ++n) {
    if (a[n].value > b[n].value) return Standing::front;
    somewhere = somewhere || a[n].value < b[n].value;
    surely = surely || a[n].high < b[n].low;
  }
  return !somewhere ? Standing::front : surely ? Standing::dominated : Standing::tied;
}

}  // namespace

std::vector<Standing> pareto(std::span<const Costs> all) {
  std::vector<Standing> standings;
  for (const Costs& one : all) {
    Standing standing = Standing::front;
    for (const Costs& other : all) {
      standing = std::max(standing, under(other, one));
      if (standing == Standing::dominated) break;
    }
    standings.push_back(standing);
  }
  return standings;
}

}  // namespace longattn

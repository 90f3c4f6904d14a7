#pragma once

#include <chrono>
#include <nlohmann/json.hpp>

namespace longattn {

/// Where a worker's time goes, seconds. The rest of its life, starting, mapping and checking, is
/// the harness's own cost.
struct Spent {
  double measured_s = 0, warm_up_s = 0, judging_s = 0;
};

inline nlohmann::json to_json(const Spent& spent) {
  return {{"measured_s", spent.measured_s},
          {"warm_up_s", spent.warm_up_s},
          {"judging_s", spent.judging_s}};
}

inline double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace longattn

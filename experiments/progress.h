#pragma once

#include <chrono>
#include <string>

#include "core/types.h"

namespace longattn {

/// Prints to standard error. Whoever listened may be gone (a closed terminal): no reason to lose
/// measurements, so this never fails.
void say(const std::string& text);

/// What a run is doing, on standard error: one redrawn line on a terminal; in a pipe, a plain line
/// per note and every tenth of the way.
class Progress {
 public:
  explicit Progress(Index steps);
  void begin(const std::string& what);    ///< the current step
  void done();                            ///< it has ended
  void drop(Index steps);                 ///< steps that will not be made
  void note(const std::string& message);  ///< a line that stays
  void finish();                          ///< nothing more is drawn

 private:
  void draw();
  std::string left() const;

  Index steps_;
  Index done_ = 0, tenths_ = 0;
  const bool terminal_;
  std::string what_;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace longattn

#pragma once

#include <span>
#include <vector>

namespace longattn {

/// How fast this machine is, for a forecast.
struct Calibration {
  struct Ceilings {
    int threads;
    double flops_per_s;  ///< float32 multiply-adds between registers
    double bytes_per_s;  ///< read from main memory
  };
  std::vector<Ceilings> ceilings;  ///< of each number of threads that was asked for
  double judged_per_s = 0;  ///< (query row, key, dimension) of a definition in double, one thread
  double drawn_per_s = 0;   ///< normal numbers of generated inputs, all cores
  double start_s = 0;       ///< of a process of this program: loading and linking
  double took_s = 0;        ///< the calibration itself

  const Ceilings& of(int threads) const;
};

/// Processor time that this process has taken: near its beginning, what starting it takes.
double process_seconds();

/// Measures what `threads` (distinct numbers) reach, in a second or so and 256 MiB.
Calibration calibrate(std::span<const int> threads, double start_s);

}  // namespace longattn

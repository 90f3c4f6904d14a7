#pragma once

#include <benchmark/benchmark.h>

#include <map>
#include <string>
#include <vector>

namespace longattn::benchmarks {

/// One table, a row per benchmark: medians over the repetitions, and spread, half the distance
/// from the least to the greatest time, relative to the median. Then engine/ against each peer at
/// the same shape, as the quotient of their medians of of_peak.
class Reporter final : public benchmark::BenchmarkReporter {
 public:
  /// `remarks` are printed above the table, a line each.
  explicit Reporter(std::vector<std::string> remarks) : remarks_(std::move(remarks)) {}
  bool ReportContext(const Context& context) override;
  void ReportRuns(const std::vector<Run>& runs) override;
  void Finalize() override;
  int errors() const { return errors_; }  ///< rows that failed, not counting what is unsupported

 private:
  std::vector<std::string> remarks_;
  size_t name_width_ = 0;
  std::map<std::string, double> of_peak_;  ///< medians by name
  int errors_ = 0;
};

}  // namespace longattn::benchmarks

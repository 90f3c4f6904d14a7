#pragma once

#include <span>
#include <string_view>

#include "core/variant.h"
#include "experiments/cell.h"

namespace longattn {

/// The line with which rank 0 sends its result on standard output begins like this; whatever else a
/// launcher or a library prints there does not.
inline constexpr std::string_view kRankResult = "longattn-result ";

/// How many processes a cell is measured with; 0: one worker like all others.
int process_count(const Cell& cell);

/// The whole life of one rank of a cell that a launcher (mpirun, srun) started: rank 0 reads the
/// request from standard input and tells it to all; each makes its own part of the inputs, and all
/// measure together. Rank 0 writes the result: fields as in serve_worker, summed over ranks
/// (workspace, heap, resident memory) or those of the slowest (time), and as `measured`, one value
/// a rank:
///
///   pass_s                        median over passes of the slowest rank's ring_pass, which is the
///                                 time without what is copied before and after
///   rank_compute_s, rank_wait_s   mean over passes; of an experiment that measures no time these
///                                 are of the first pass, whose output is judged
///   exchange_s                    one pass of nothing but exchanges, median of three
///   overlap                       1 - (T - max(C, X)) / min(C, X): 1 where the shorter one of
///                                 computing and exchanging is hidden, 0 where they follow each
///                                 other; T, C, X medians of the longest pass, computation and
///                                 exchange of any rank
///   rank_workspace_bytes, rank_resident_bytes
///
/// The pass `calibration`, of two ranks, is answered with {"calibration": what calibrate_ranks
/// (rank_calibration.h) found}.
///
/// A rank that fails tells the others; all say why on standard error and end with an exit code
/// other than 0, at the latest when the others' patience is over. Does not return.
[[noreturn]] int serve_rank(std::span<const Variant* const> variants);

}  // namespace longattn

#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "experiments/cluster_outlook.h"

namespace longattn {

/// "4 heads of 64, causal": the problem of a cell without its threads, which are a cluster's.
std::string problem_line(const Problem& problem);

/// Predictions as a table for a terminal, with what bounds the longest sequence on the most ranks
/// in a sentence each, and below it what was never measured. Empty without outlooks.
std::string clusters_text(const std::vector<ClusterOutlook>& outlooks);

/// The same for programs: an array of objects, seconds and bytes.
nlohmann::json clusters_json(const std::vector<ClusterOutlook>& outlooks);

/// Throws OptionError unless the path ends in .svg or .pdf.
void require_plot_name(const std::string& path);

/// Draws time against ranks, one curve a cluster, setting and length, markers open where exchanging
/// takes longer than computing. Throws OptionError as above, IoError as
/// run_gnuplot does, and where nothing can be written.
void draw_clusters(const std::vector<ClusterOutlook>& outlooks, const std::string& path);

}  // namespace longattn

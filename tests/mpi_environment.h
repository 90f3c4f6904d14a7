#pragma once

#include <map>
#include <string>

namespace longattn {

/// What launchers want to be told where tests run: as root, in containers, with more ranks than
/// cores.
inline const std::map<std::string, std::string>& mpi_environment() {
  static const std::map<std::string, std::string> all = {
      {"OMPI_ALLOW_RUN_AS_ROOT", "1"},
      {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
      {"OMPI_MCA_rmaps_base_oversubscribe", "1"},
      {"OMPI_MCA_hwloc_base_binding_policy", "none"},
      {"OMPI_MCA_mpi_yield_when_idle", "1"},
      {"OMPI_MCA_btl_vader_single_copy_mechanism", "none"},
      {"PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"}};
  return all;
}

inline constexpr const char* kNoMpi =
    "built without MPI: install libopenmpi-dev and openmpi-bin, and build again";

}  // namespace longattn

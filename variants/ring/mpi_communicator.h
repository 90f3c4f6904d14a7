#pragma once

#include <memory>
#include <string>

#include "variants/ring/communicator.h"

namespace longattn {

/// The MPI of this build: "Open MPI v4.1.4"; empty: built without. Starts nothing.
std::string mpi_library();

/// Begins MPI and joins the ranks that the launcher started (mpirun, srun), of which there may be
/// one. Once in a process; what is returned ends MPI with its life. Only MPI 3.1 is used.
///
/// One thread of its own makes every MPI call and polls while compute threads work: most MPI
/// libraries move large messages only inside calls (weak progress, MPI 3.1 section 3.7.4), so that
/// a wait after the computation would hide nothing. It sleeps longer the longer nothing moves, 0.5
/// ms at the most while messages are under way: less than 1 % of a core.
///
/// A receiver posts its receives and then says so to the sender, with the number of bytes; the
/// sender compares and sends into receives that wait already. Messages travel in pieces of
/// `chunk_bytes`, hence at any size. After a failure the reason goes to all ranks, receives that
/// can be are cancelled, and no MPI call is made any more, not even MPI_Finalize: the process
/// should end, with an exit code that tells the launcher.
///
/// Throws UnsupportedError in a build without MPI, CommunicatorError when MPI does not start.
std::unique_ptr<Communicator> start_mpi(Index chunk_bytes = Index{16} << 20);

}  // namespace longattn

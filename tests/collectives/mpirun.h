// How tests start mpirun: as root, more ranks than cores, all of Open MPI's files in a folder of
// the test's own.
#pragma once

#include <filesystem>

#include "comms/base/process.h"

namespace atl {

// mpirun's arguments up to the program and the environment it needs.
ProcessOptions MpirunOptions(int ranks, const std::filesystem::path& scratch);

}  // namespace atl

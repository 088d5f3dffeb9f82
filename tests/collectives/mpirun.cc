#include "tests/collectives/mpirun.h"

#include <string>

namespace atl {

ProcessOptions MpirunOptions(int ranks, const std::filesystem::path& scratch) {
  ProcessOptions options;
  options.arguments = {"mpirun",    "-q",   "-np",   std::to_string(ranks), "--oversubscribe",
                       "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1"};
  for (const char* folder :
       {"orte_tmpdir_base", "btl_vader_backing_directory", "osc_sm_backing_directory"}) {
    options.arguments.insert(options.arguments.end(), {"--mca", folder, scratch.string()});
  }
  options.environment = {{"OMPI_ALLOW_RUN_AS_ROOT", "1"}, {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"}};
  return options;
}

}  // namespace atl

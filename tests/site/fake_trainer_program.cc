// A rank of a trainer that needs no MPI: `fake-trainer serve --link ADDRESS` under mpirun. Rank 0
// speaks the site link; all leave their ids as empty files in $ATOLL_TEST_PIDS.
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "tests/site/fake_trainer.h"

int main(int argc, char** argv) {
  if (argc != 4 || std::strcmp(argv[1], "serve") != 0) return 2;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const char* folder = std::getenv("ATOLL_TEST_PIDS");
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
  if (folder == nullptr || rank == nullptr || size == nullptr) return 2;
  std::ofstream(std::string(folder) + "/" + std::to_string(getpid())) << rank;
  if (std::strcmp(rank, "0") != 0) {
    while (true) pause();  // ends with mpirun
  }
  atl::site::FakeTrainerOptions options;
  options.link = argv[3];
  options.ranks = static_cast<uint32_t>(std::atoi(size));
  options.pid = static_cast<uint32_t>(getpid());
  // As the trainer's rank 0 does by MPI_Abort: mpirun ends the other ranks.
  return atl::site::RunFakeTrainer(options, nullptr) == 0 ? 1 : 3;
}

// `atoll site` without a command line, for tests that kill it. Arguments: coordinator, data folder,
// identity, roster, trainer.
#include <cstdio>

#include "federation/site/site_main.h"

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(stderr, "usage: site-program COORDINATOR DATA IDENTITY ROSTER TRAINER\n");
    return 2;
  }
  atl::site::SiteOptions options;
  options.coordinator = argv[1];
  options.data_folder = argv[2];
  options.identity_file = argv[3];
  options.roster_file = argv[4];
  options.trainer = argv[5];
  options.site_id = 1;
  options.cpus = 4;
  options.memory_gb = 8;
  return atl::site::RunSite(options);
}

// `atoll run RECIPE`: a real federation on this machine, from a recipe to a folder with a model.
#pragma once

#include <string>
#include <vector>

namespace atl::cli {

struct RunOptions {
  std::string recipe;
  std::vector<std::string> overrides;  // --set key=value
  std::string out;                     // overrides output.folder
  int port = 0;                        // of the coordinator; 0: a free one
  bool quiet = false;                  // the table at the end only
  bool json = false;                   // summary.json on stdout, and nothing else
  bool trace = false;                  // print every message of the protocol
  bool keep_work = false;              // keep work/: keys, databases, blobs
};

// Exit code: 0 complete, 1 failed, 2 bad recipe or machine, 130 interrupted.
int RunRecipe(const RunOptions& options);

}  // namespace atl::cli

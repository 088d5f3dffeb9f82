// The commands that talk to a coordinator, look at a recipe, or make keys. Each prints its result
// or one line of error, and returns the exit code: 0 good, 1 failed, 2 bad input.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace atl::cli {

// Where the coordinator is: an address, or the newest live `atoll run` under runs/ when none is
// given.
struct CoordinatorChoice {
  std::string address;  // "host:port"
  std::string run;      // folder of a run, or the folder that holds runs (default: runs)
};

int Submit(const CoordinatorChoice& where, const std::string& recipe,
           const std::vector<std::string>& overrides);
int ShowStatus(const CoordinatorChoice& where, uint64_t job_id, bool json);  // job 0: all
int ShowLogs(const CoordinatorChoice& where, uint64_t job_id, bool follow);  // job 0: the newest
int Cancel(const CoordinatorChoice& where,
           uint64_t job_id);  // job 0: the only one that is not over

int RecipeCheck(const std::string& recipe, const std::vector<std::string>& overrides);
int RecipeExplain(const std::string& recipe, const std::vector<std::string>& overrides);

// A new Ed25519 identity: the seed (hex, 0600) to `file`, which must not exist; prints the public
// key.
int KeysNew(const std::filesystem::path& file);
// Prints the public key of an identity file.
int KeysShow(const std::filesystem::path& file);
// Signs a roster of "id:name:publickey" entries with the operator's identity and writes it to
// `out`.
int KeysRoster(const std::filesystem::path& operator_file, const std::vector<std::string>& sites,
               const std::filesystem::path& out);

}  // namespace atl::cli

// The agent of one site, as `atoll site` runs it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "comms/base/log.h"
#include "federation/secagg/site_slot.h"

namespace atl::site {

enum class Role { kSite, kEvaluator };

struct SiteOptions {
  std::string coordinator;              // "host:port"
  std::filesystem::path data_folder;    // made 0700 when missing; one agent at a time
  std::filesystem::path log_folder;     // of the trainer's output; empty: data_folder/logs
  std::filesystem::path identity_file;  // 32-byte Ed25519 seed in hex, mode 0600; evaluators: empty
  std::filesystem::path roster_file;    // evaluators: may be empty
  std::string operator_key;  // hex, 32 bytes: who must have signed the roster; empty: not pinned
  uint32_t site_id = 0;      // in the roster, from 1; evaluators: 0
  Role role = Role::kSite;
  std::filesystem::path trainer;     // empty: atoll-trainer beside the running program
  double cpus = 0;                   // offered; 0: the machine's
  double memory_gb = 0;              // likewise
  secagg::SiteFloors floors;         // what this site demands, whatever the coordinator says
  LogOptions log;                    // `program` may be empty
  uint32_t spot_check_chunks = 8;    // of each sum, at random; 0: none
  int relaunch_limit = 3;            // times a failed trainer is started again, a job
  int trainer_start_timeout_s = 60;  // from its launch to its first word
  pid_t parent = 0;  // end with this process (it must be the one that started us); 0: with none
};

// Overwrites in `options` what the site's YAML file names; flags come after it. Keys: coordinator,
// data_folder, log_folder, identity, roster, operator_key, site_id, role (site, evaluator),
// trainer, cpus, memory, log {level, json, file}, relaunch_limit, trainer_start_timeout_s,
// spot_check_chunks, floors {cohort_min, allow_two_of_three, allow_two_sites, allow_plain,
// weight_max, clip_norm_l2_max, corrupt_sites_max, cohort_distance_min,
// allow_difference_of_one}. INVALID_ARGUMENT with one line "file:line: key:
// ..." for each unknown key, wrong type and value out of bounds; NOT_FOUND, PERMISSION_DENIED for
// the file. Relative paths in it are relative to it.
absl::Status LoadSiteFile(const std::filesystem::path& path, SiteOptions& options);

// Dials the coordinator and serves until SIGTERM, SIGINT or SIGHUP (exit code 0), or until it
// cannot go on: bad options, another roster or protocol version than the coordinator's (one line on
// the log, exit code 1). Stops the trainer and leaves no process behind. Call it from the main
// thread of a program that does nothing else.
int RunSite(const SiteOptions& options);

}  // namespace atl::site

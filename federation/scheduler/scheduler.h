// Which waiting job starts on which sites, and what the others wait for. Pure.
//
// The rule. Jobs are looked at in the order they were submitted. A job starts when as many sites as
// it asks for are connected and have its cpus and memory free, after what running jobs hold. One
// that cannot start keeps every connected site that is large enough for it, busy or not: a later
// job may start only on sites that no earlier waiting job could use. So no job is ever overtaken on
// a site that it waits for, and small sites do not idle behind a large job.
//
// Among sites that fit, those with the fewest running jobs come first, then the smallest, then the
// lowest id.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comms/base/ids.h"

namespace atl::scheduler {

struct Offer {
  SiteId site;  // distinct
  bool connected = false;
  double cpus = 0;  // of the whole site
  double memory_gb = 0;
};

struct WaitingJob {
  JobId job;
  uint64_t order = 0;       // of submission: lower goes first, equal ones by job
  uint32_t sites = 0;       // how many it starts with
  uint32_t cohort_min = 0;  // fewest it can go on with; more than `sites` can never run
  double cpus = 0;          // at each site
  double memory_gb = 0;
};

struct RunningJob {
  JobId job;
  std::vector<SiteId> sites;  // that still work for it
  double cpus = 0;            // at each site
  double memory_gb = 0;
};

struct State {
  std::vector<Offer> offers;
  std::vector<WaitingJob> waiting;
  std::vector<RunningJob> running;
};

struct Placement {
  JobId job;
  std::vector<SiteId> sites;  // ascending
};

// For people: "waits for 4 sites with 2 cpus and 4 GB: 2 connected, 1 too small". The same state
// gives the same text.
struct WaitReason {
  JobId job;
  std::string text;
};

struct Decision {
  std::vector<Placement> placements;  // in order of submission
  std::vector<WaitReason> waiting;    // every other waiting job, in order of submission
};

Decision Schedule(const State& state);

}  // namespace atl::scheduler

// Which rounds' sums may be checked now.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <tuple>

#include "absl/status/statusor.h"
#include "federation/coordinator/events.h"

namespace atl::coordinator {

// The event loop opens and closes, the service's calls look up. Thread-safe.
class Checks {
 public:
  // A site's call, as long as it is served: it has one at a time.
  class Call {
   public:
    Call(Checks& checks, AllowChecks allowed, SiteId site)
        : allowed(std::move(allowed)), checks_(checks), site_(site) {}
    ~Call();
    Call(const Call&) = delete;
    const AllowChecks allowed;

   private:
    Checks& checks_;
    const SiteId site_;
  };

  void Open(const AllowChecks& allowed);
  void Close(JobId job, RoundId round, SlotId slot);
  void CloseAll();

  // FAILED_PRECONDITION when the slot is not open, PERMISSION_DENIED for who was not in its round,
  // ABORTED while another call of this site is served.
  absl::StatusOr<std::unique_ptr<Call>> Begin(JobId job, RoundId round, SlotId slot, SiteId site);

 private:
  std::mutex mutex_;
  std::map<std::tuple<JobId, RoundId, SlotId>, AllowChecks> open_;
  std::set<SiteId> served_;
};

}  // namespace atl::coordinator

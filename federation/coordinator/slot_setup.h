// E1 and E2 of one slot: pre-keys and shares, made before a round needs them.
//
//   pre-keys -> shares -> receipts -> prepared      and to aborted from anywhere
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "federation/coordinator/events.h"
#include "federation/secagg/grouped_slot.h"

namespace atl::coordinator {

// A state machine without I/O and clock, driven by what the sites send and by who is given up.
// Owned by a JobState. In a split run a group that falls under its t is out and its sites are told
// to burn the slot; the set-up is aborted when the others are under cohort_min.
class SlotSetup {
 public:
  enum class Phase { kPreKeys, kShares, kReceipts, kPrepared, kAborted };

  // Asks `invited` (sorted, those who are there) for their pre-keys.
  SlotSetup(JobId job, SlotId id, secagg::GroupedSlot slot, std::vector<SiteId> invited,
            uint32_t cohort_min, int64_t now_ms, Effects& out);

  // A message of E1 or E2. OK also for one that comes late or twice. Errors are the sender's fault:
  // UNAUTHENTICATED, INVALID_ARGUMENT, ALREADY_EXISTS; the state is as before.
  absl::Status Take(SiteId from, v1::Step step, ByteView payload, int64_t now_ms, Effects& out);
  // The site is no longer waited for, in this slot.
  void Drop(SiteId site, int64_t now_ms, Effects& out);
  // Repeats what the site is still asked, to one that has reconnected.
  void Resend(SiteId site, Effects& out) const;

  SlotId id() const { return id_; }
  Phase phase() const { return phase_; }
  int64_t phase_since_ms() const { return phase_since_ms_; }
  // Who is waited for, and what for ("its pre-keys").
  std::set<SiteId> Pending() const;
  const char* Awaited() const;
  const std::string& reason() const { return reason_; }       // of kAborted
  std::vector<SiteId> members() const { return slot_.u1(); }  // once prepared
  const secagg::GroupedSlot& slot() const { return slot_; }
  const std::set<SiteId>& dropped() const { return dropped_; }
  const std::vector<SiteId>& invited() const { return invited_; }
  uint32_t threshold() const { return slot_.threshold(); }
  // Of a prepared slot: hands it over to a round.
  secagg::GroupedSlot Release() && { return std::move(slot_); }

 private:
  std::vector<SiteId> Asked() const;
  void Ask(SiteId site, Effects& out) const;
  void Enter(Phase phase, int64_t now_ms, Effects& out);
  void Abort(std::string reason);
  void RetireGroups(Effects& out);
  void TellRetired(Effects& out);
  void CloseIfDone(int64_t now_ms, Effects& out);

  JobId job_;
  SlotId id_;
  secagg::GroupedSlot slot_;
  std::vector<SiteId> invited_;
  uint32_t cohort_min_;
  Phase phase_ = Phase::kPreKeys;
  int64_t phase_since_ms_ = 0;
  std::set<SiteId> answered_;  // the phase's question
  std::set<SiteId> dealt_, dropped_;
  std::map<uint32_t, Bytes> pre_key_sets_;  // encoded U0, by group
  std::set<uint32_t> told_out_;             // groups whose sites know that they are out
  std::string reason_;
};

}  // namespace atl::coordinator

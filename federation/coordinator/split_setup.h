// One attempt to split a run's sites into groups, by commit and reveal.
//
//   commits -> signatures -> reveals -> split      and to aborted from anywhere before
#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "federation/coordinator/events.h"
#include "federation/secagg/coordinator_split.h"

namespace atl::coordinator {

// A state machine without I/O and clock, driven by what the sites send and by who is given up.
// Owned by a JobState, which begins another attempt where one was aborted. Whoever goes before the
// commits are closed is left out; later that ends the attempt, since all must sign and reveal.
class SplitSetup {
 public:
  enum class Phase { kCommits, kSignatures, kReveals, kSplit, kAborted };

  // Asks `invited` (sorted, those who are there) for their commits.
  SplitSetup(JobId job, secagg::CoordinatorSplit split, std::vector<SiteId> invited, int64_t now_ms,
             Effects& out);

  // A step of the split. OK also for one that comes late or twice. Errors are the sender's fault:
  // UNAUTHENTICATED, INVALID_ARGUMENT, ALREADY_EXISTS; the state is as before.
  absl::Status Take(SiteId from, v1::Step step, ByteView payload, int64_t now_ms, Effects& out);
  // The site is no longer waited for.
  void Drop(SiteId site, int64_t now_ms, Effects& out);
  // Repeats what the site is still asked, to one that has reconnected; once split, the reveals, so
  // that a site which missed them knows its group before it is asked for pre-keys.
  void Resend(SiteId site, Effects& out) const;

  Phase phase() const { return phase_; }
  int64_t phase_since_ms() const { return phase_since_ms_; }
  std::set<SiteId> Pending() const;
  const char* Awaited() const;
  const std::string& reason() const { return reason_; }  // of kAborted
  // Sites were asked to reveal: the attempt counts among kSplitAttemptsMax.
  bool revealing() const { return revealing_; }
  const secagg::Groups& groups() const { return split_.groups(); }  // once split
  // How many of `live` are in groups of which t or more are among them.
  uint32_t Usable(const std::set<SiteId>& live) const;

 private:
  const std::vector<SiteId>& Asked() const;
  void Ask(SiteId site, Effects& out) const;
  void Enter(Phase phase, Bytes question, int64_t now_ms, Effects& out);
  void CloseIfDone(int64_t now_ms, Effects& out);
  absl::Status Close(int64_t now_ms, Effects& out);
  void Abort(std::string reason);

  JobId job_;
  secagg::CoordinatorSplit split_;
  std::vector<SiteId> invited_;
  Phase phase_ = Phase::kCommits;
  int64_t phase_since_ms_ = 0;
  bool revealing_ = false;
  std::set<SiteId> answered_, dropped_;
  Bytes question_;  // the same for all
  std::string reason_;
};

bool IsSplitStep(v1::Step step);

}  // namespace atl::coordinator

// All that a coordinator decides: who is connected, which jobs there are, which start where. No
// I/O, no clock.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "federation/coordinator/events.h"
#include "federation/coordinator/job_state.h"

namespace atl::coordinator {

// What is kept of a job that has ended.
struct EndedJob {
  v1::JobReport report;
  Digest first_model{};
  std::vector<Digest> sums;  // of the last round: the total, and each group's
};
Bytes EncodeEndedJob(const EndedJob& job);
absl::StatusOr<EndedJob> DecodeEndedJob(ByteView bytes);

// Folds events to state and effects. The same events in the same order give the same state and
// effects; time enters only through Due, whose events are logged like any other. Not thread-safe.
class Core {
 public:
  explicit Core(Environment environment);
  Core(const Core&) = delete;  // jobs point into it

  void Step(const Event& event, int64_t now_ms, Effects& out);
  // What has run out of time by now_ms, and which queued jobs start: events to Step. Changes
  // nothing but what is said of jobs that wait, which is published when it is another than before.
  std::vector<Event> Due(int64_t now_ms, Effects& out);
  // After a restart: what of a slot was kept beside the log (KeepSecrets). NeedsSecrets: whether
  // anybody still does.
  bool NeedsSecrets(JobId job, SlotId slot) const;
  void RestoreSecrets(JobId job, SlotId slot, const std::vector<secagg::RevealedSecret>& secrets);
  // After a restart: the effects that are not messages, again.
  void Resume(Effects& out) const;

  // A job that ended before a restart; its events are not stepped again.
  void Restore(EndedJob job);
  const EndedJob* Ended(JobId job) const;
  bool IsUnfinished(JobId job) const { return jobs_.contains(job); }
  size_t unfinished_jobs() const { return jobs_.size(); }
  JobId last_job() const { return last_job_; }
  bool IsRetained(const Digest& blob) const;
  void Downloaded(const Digest& blob, uint64_t bytes);

  // NOT_FOUND.
  absl::StatusOr<v1::JobReport> Report(JobId job) const;
  v1::ListJobsReply ReportAll() const;

 private:
  struct Peer {
    bool connected = false;
    double cpus = 0, memory_gb = 0;
  };
  void StepPeers(const Event& event, int64_t now_ms, Effects& out);
  void StepJob(JobState& job, const Event& event, int64_t now_ms, Effects& out);
  void CollectEnded(Effects& out);

  Environment environment_;
  EvaluatorState evaluator_;
  std::map<SiteId, Peer> peers_;
  std::map<JobId, std::unique_ptr<JobState>> jobs_;  // not ended
  std::map<JobId, EndedJob> ended_;
  JobId last_job_;
};

}  // namespace atl::coordinator

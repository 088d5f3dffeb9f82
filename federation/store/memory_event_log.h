// An event log without a disk, for tests and simulation.
#pragma once

#include <map>
#include <mutex>
#include <tuple>
#include <vector>

#include "federation/store/event_log.h"

namespace atl::store {

// Same semantics as the one on disk. Thread-safe.
class MemoryEventLog : public EventLog {
 public:
  // From now on Write and EraseSecrets change nothing and give `status`; OkStatus() ends that.
  void FailWrites(absl::Status status);

  absl::StatusOr<uint64_t> Write(const Batch& batch) override;
  absl::StatusOr<std::vector<Event>> Read(JobId job, uint64_t after_id, uint32_t limit) override;
  absl::StatusOr<std::vector<Event>> ReadAll(uint64_t after_id, uint32_t limit) override;
  absl::StatusOr<Event> Head() override;
  absl::StatusOr<Bytes> Get(Table table, uint64_t id) override;
  absl::StatusOr<std::vector<Record>> List(Table table) override;
  absl::StatusOr<std::vector<RevealedSecret>> Secrets(JobId job, SlotId slot) override;
  absl::StatusOr<std::vector<std::pair<JobId, SlotId>>> SlotsWithSecrets() override;
  absl::Status EraseSecrets(JobId job, SlotId slot) override;

 private:
  std::mutex mutex_;
  absl::Status failure_;
  std::vector<Event> events_;
  std::map<std::pair<Table, uint64_t>, Bytes> records_;
  std::map<std::tuple<JobId, SlotId, SiteId>, Bytes> secrets_;
};

}  // namespace atl::store

#include "federation/store/memory_event_log.h"

#include <algorithm>

#include "comms/base/status.h"

namespace atl::store {
namespace {

template <typename Wanted>
std::vector<Event> Select(const std::vector<Event>& events, uint64_t after_id, uint32_t limit,
                          Wanted wanted) {
  const uint64_t most = std::min(limit, kMaxEventsRead);
  std::vector<Event> selected;
  uint64_t bytes = 0;
  for (size_t i = std::min<uint64_t>(after_id, events.size()); i < events.size(); ++i) {
    if (selected.size() == most) break;
    if (!wanted(events[i])) continue;
    bytes += events[i].payload.size();
    if (!selected.empty() && bytes > kMaxBytesRead) break;
    selected.push_back(events[i]);
  }
  return selected;
}

}  // namespace

void MemoryEventLog::FailWrites(absl::Status status) {
  std::lock_guard lock(mutex_);
  failure_ = std::move(status);
}

absl::StatusOr<uint64_t> MemoryEventLog::Write(const Batch& batch) {
  ATOLL_RETURN_IF_ERROR(CheckBatch(batch));
  std::lock_guard lock(mutex_);
  ATOLL_RETURN_IF_ERROR(failure_);
  for (const Batch::NewEvent& event : batch.events) {
    const Digest previous = events_.empty() ? Digest{} : events_.back().hash;
    const uint64_t id = events_.size() + 1;
    events_.push_back({id, event.job, event.kind, event.payload,
                       ChainHash(previous, id, event.job, event.kind, event.payload)});
  }
  for (const Batch::NewRecord& record : batch.records) {
    records_[{record.table, record.id}] = record.value;
  }
  for (const RevealedSecret& secret : batch.secrets) {
    secrets_[{secret.job, secret.slot, secret.site}] = secret.value;
  }
  return events_.size();
}

absl::StatusOr<std::vector<Event>> MemoryEventLog::Read(JobId job, uint64_t after_id,
                                                        uint32_t limit) {
  std::lock_guard lock(mutex_);
  return Select(events_, after_id, limit, [&](const Event& event) { return event.job == job; });
}

absl::StatusOr<std::vector<Event>> MemoryEventLog::ReadAll(uint64_t after_id, uint32_t limit) {
  std::lock_guard lock(mutex_);
  return Select(events_, after_id, limit, [](const Event&) { return true; });
}

absl::StatusOr<Event> MemoryEventLog::Head() {
  std::lock_guard lock(mutex_);
  Event head;
  if (!events_.empty()) {
    head.id = events_.back().id;
    head.hash = events_.back().hash;
  }
  return head;
}

absl::StatusOr<Bytes> MemoryEventLog::Get(Table table, uint64_t id) {
  std::lock_guard lock(mutex_);
  const auto found = records_.find({table, id});
  if (found == records_.end()) return absl::NotFoundError(absl::StrCat("no record ", id));
  return found->second;
}

absl::StatusOr<std::vector<Record>> MemoryEventLog::List(Table table) {
  std::lock_guard lock(mutex_);
  std::vector<Record> records;
  for (const auto& [key, value] : records_) {
    if (key.first == table) records.push_back({key.second, value});
  }
  return records;
}

absl::StatusOr<std::vector<RevealedSecret>> MemoryEventLog::Secrets(JobId job, SlotId slot) {
  std::lock_guard lock(mutex_);
  std::vector<RevealedSecret> secrets;
  for (auto i = secrets_.lower_bound({job, slot, SiteId()});
       i != secrets_.end() && std::get<0>(i->first) == job && std::get<1>(i->first) == slot; ++i) {
    secrets.push_back({job, slot, std::get<2>(i->first), i->second});
  }
  return secrets;
}

absl::StatusOr<std::vector<std::pair<JobId, SlotId>>> MemoryEventLog::SlotsWithSecrets() {
  std::lock_guard lock(mutex_);
  std::vector<std::pair<JobId, SlotId>> slots;
  for (const auto& [key, value] : secrets_) {
    const std::pair slot(std::get<0>(key), std::get<1>(key));
    if (slots.empty() || slots.back() != slot) slots.push_back(slot);
  }
  return slots;
}

absl::Status MemoryEventLog::EraseSecrets(JobId job, SlotId slot) {
  std::lock_guard lock(mutex_);
  ATOLL_RETURN_IF_ERROR(failure_);
  std::erase_if(secrets_, [&](const auto& entry) {
    return std::get<0>(entry.first) == job && std::get<1>(entry.first) == slot;
  });
  return absl::OkStatus();
}

}  // namespace atl::store

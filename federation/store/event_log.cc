#include "federation/store/event_log.h"

#include "comms/base/crypto/sha256.h"
#include "comms/base/status.h"
#include "federation/store/database.h"

namespace atl::store {

absl::Status CheckBatch(const Batch& batch) {
  for (const Batch::NewEvent& event : batch.events) {
    ATOLL_RETURN_IF_ERROR(CheckId(event.job.value(), "job"));
    ATOLL_RETURN_IF_ERROR(CheckSize(event.payload.size(), "an event"));
  }
  for (const Batch::NewRecord& record : batch.records) {
    ATOLL_RETURN_IF_ERROR(CheckId(record.id, "record"));
    ATOLL_RETURN_IF_ERROR(CheckSize(record.value.size(), "a record"));
  }
  for (const RevealedSecret& secret : batch.secrets) {
    ATOLL_RETURN_IF_ERROR(CheckId(secret.job.value(), "job"));
    ATOLL_RETURN_IF_ERROR(CheckId(secret.slot.value(), "slot"));
    ATOLL_RETURN_IF_ERROR(CheckSize(secret.value.size(), "a secret"));
  }
  return absl::OkStatus();
}

Digest ChainHash(const Digest& previous, uint64_t id, JobId job, uint32_t kind, ByteView payload) {
  ByteWriter prefix;
  prefix.Raw(previous).U64(id).U64(job.value()).U32(kind);
  Sha256 hash;
  hash.Update(prefix.bytes()).Update(payload);
  return hash.Finish();
}

absl::StatusOr<uint64_t> EventLog::Append(JobId job, uint32_t kind, ByteView payload) {
  Batch batch;
  batch.events.push_back({job, kind, Bytes(payload.begin(), payload.end())});
  return Write(batch);
}

absl::Status EventLog::Put(Table table, uint64_t id, ByteView value) {
  Batch batch;
  batch.records.push_back({table, id, Bytes(value.begin(), value.end())});
  return Write(batch).status();
}

absl::Status EventLog::VerifyChain() {
  ATOLL_ASSIGN_OR_RETURN(const Event head, Head());
  uint64_t last = 0;
  while (true) {
    // Reading checks each event against its hash and the one before.
    ATOLL_ASSIGN_OR_RETURN(const std::vector<Event> events, ReadAll(last, 1000));
    if (events.empty()) break;
    for (const Event& event : events) {
      if (event.id != ++last) {
        return absl::DataLossError(
            absl::StrCat("event ", last, " is missing: after it comes ", event.id));
      }
    }
  }
  // Others may append meanwhile.
  if (last >= head.id) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("event ", last + 1, " is missing: the last one is ", head.id));
}

}  // namespace atl::store

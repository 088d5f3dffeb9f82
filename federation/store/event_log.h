// The coordinator's memory: an append-only, hash-chained event log, and the records and secrets
// beside it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"
#include "comms/base/ids.h"

namespace atl::store {

inline constexpr uint64_t kMaxPayloadBytes = 64u << 20;
inline constexpr uint32_t kMaxEventsRead = 10'000;  // in one Read
inline constexpr uint64_t kMaxBytesRead = 64u
                                          << 20;  // of payload in one Read, but for its first event

struct Event {
  uint64_t id = 0;    // from 1, without gaps, over all jobs
  JobId job;          // JobId(0): of no job
  uint32_t kind = 0;  // the coordinator's own numbering
  Bytes payload;
  Digest hash{};  // of the chain up to here
};

// Latest-value records by id: what `status` shows and a restart needs. The bytes are the
// coordinator's own encoding.
enum class Table : uint32_t { kJobs = 1, kSites = 2 };

struct Record {
  uint64_t id = 0;
  Bytes value;
};

// A site's secret that R4 revealed, kept apart from the log until the slot is erased. One a (job,
// slot, site).
struct RevealedSecret {
  JobId job;
  SlotId slot;
  SiteId site;
  Bytes value;
};

// What is written together or not at all.
struct Batch {
  struct NewEvent {
    JobId job;
    uint32_t kind = 0;
    Bytes payload;
  };
  struct NewRecord {
    Table table = Table::kJobs;
    uint64_t id = 0;
    Bytes value;
  };
  std::vector<NewEvent> events;
  std::vector<NewRecord> records;       // replace older ones of the same id
  std::vector<RevealedSecret> secrets;  // replace older ones of the same key
};

// INVALID_ARGUMENT for ids from 2^63 on and values over kMaxPayloadBytes.
absl::Status CheckBatch(const Batch& batch);

// hash_n = SHA-256(hash_{n-1} || u64 id || u64 job || u32 kind || payload), integers little-endian;
// hash_0 is zero.
Digest ChainHash(const Digest& previous, uint64_t id, JobId job, uint32_t kind, ByteView payload);

// Thread-safe. Errors of all methods: INVALID_ARGUMENT for ids from 2^63 on and values over
// kMaxPayloadBytes, DATA_LOSS for a damaged database, RESOURCE_EXHAUSTED for a full disk (nothing
// of the batch is kept, and the log goes on when there is room again), UNAVAILABLE for other
// trouble with it; each with the file's path.
class EventLog {
 public:
  virtual ~EventLog() = default;

  // Durable when it returns OK. The id of the last event in the log (0 when there is none).
  virtual absl::StatusOr<uint64_t> Write(const Batch& batch) = 0;
  // One event; its id.
  absl::StatusOr<uint64_t> Append(JobId job, uint32_t kind, ByteView payload);
  // One record.
  absl::Status Put(Table table, uint64_t id, ByteView value);

  // Events with id > after_id, ascending, at most `limit` of them, within kMaxEventsRead and
  // kMaxBytesRead. Empty: there are no more; fewer than `limit` says nothing. Each is checked
  // against the chain.
  virtual absl::StatusOr<std::vector<Event>> Read(JobId job, uint64_t after_id, uint32_t limit) = 0;
  virtual absl::StatusOr<std::vector<Event>> ReadAll(uint64_t after_id, uint32_t limit) = 0;
  // The last event's id and hash; without payload, job and kind. Id 0 in an empty log.
  virtual absl::StatusOr<Event> Head() = 0;
  // Recomputes the whole chain. DATA_LOSS names the first event that does not fit. (That the end
  // was cut off shows only to whoever kept an earlier head.)
  absl::Status VerifyChain();

  virtual absl::StatusOr<Bytes> Get(Table table, uint64_t id) = 0;    // or NOT_FOUND
  virtual absl::StatusOr<std::vector<Record>> List(Table table) = 0;  // by id, ascending

  virtual absl::StatusOr<std::vector<RevealedSecret>> Secrets(
      JobId job, SlotId slot) = 0;  // by site, ascending
  // The slots that have any, ascending.
  virtual absl::StatusOr<std::vector<std::pair<JobId, SlotId>>> SlotsWithSecrets() = 0;
  // Overwrites the slot's secrets with zeros in the database and empties its write-ahead log. What
  // a file system or a disk keeps of freed blocks is out of reach. OK also when there are none.
  virtual absl::Status EraseSecrets(JobId job, SlotId slot) = 0;
};

// `folder`/atoll.db: SQLite, WAL, synchronous=FULL, secure_delete. FAILED_PRECONDITION "another
// coordinator uses ..." when another process (or another log of this one) has it open; DATA_LOSS
// when it is damaged or no database of ours.
absl::StatusOr<std::unique_ptr<EventLog>> OpenEventLog(const std::filesystem::path& folder);

}  // namespace atl::store

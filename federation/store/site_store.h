// A site's memory, `site.db`: what it has answered in each slot, where each run stands, the cohorts
// that it has signed, and its settings.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"
#include "comms/base/ids.h"

namespace atl::store {

using RunId =
    std::array<uint8_t, 32>;  // random, one a job: job numbers start again with another coordinator

struct SlotRow {
  SlotId slot;
  uint32_t state = 0;  // the protocol's own numbering
  Bytes record;        // holds secrets: wipe it after use
};

// Where a run stands: its current global model and the round that it goes into.
struct RunRow {
  RunId run{};
  JobId job;
  RoundId round;
  Digest first_model{};
  Digest model{};
  double range = 0;  // of the next round's scale, from the sum that made `model`; 0: not known
};

// A set of survivors that was signed: over which data and model, in which slot of which run.
struct CohortRow {
  Digest data{}, model{};
  std::vector<SiteId> survivors;  // sorted, at most kMaxCohort
  RunId run{};
  SlotId slot;
  std::array<uint8_t, 64> signature{};
};
inline constexpr size_t kMaxCohort = 1 << 16;

// Every change is durable when it returns OK. SQLite, WAL, synchronous=FULL, secure_delete.
// Thread-safe. Errors of all methods: DATA_LOSS for a damaged database, RESOURCE_EXHAUSTED for a
// full disk (nothing changed), UNAVAILABLE for other trouble with it, INVALID_ARGUMENT for ids from
// 2^63 on and values over kMaxPayloadBytes; each with the file's path.
class SiteStore {
 public:
  virtual ~SiteStore() = default;
  // `folder`/site.db; the folder is made (0700) if need be. FAILED_PRECONDITION "another site agent
  // uses ..." when another process, or another store of this one, has it open.
  static absl::StatusOr<std::unique_ptr<SiteStore>> Open(const std::filesystem::path& folder);

  // Inserts or replaces. FAILED_PRECONDITION for a slot that was erased.
  virtual absl::Status SaveSlot(const RunId& run, SlotId slot, uint32_t state, ByteView record) = 0;
  virtual absl::StatusOr<SlotRow> GetSlot(const RunId& run, SlotId slot) = 0;  // or NOT_FOUND
  virtual absl::StatusOr<std::vector<SlotRow>> Slots(const RunId& run) = 0;    // by slot, ascending
  // The slot's record is overwritten with zeros in the database, and the write-ahead log, which
  // holds its earlier versions, emptied; that it was used, with its last `state`, is kept. OK also
  // for a slot that is not there.
  virtual absl::Status EraseSlot(const RunId& run, SlotId slot, uint32_t state) = 0;

  virtual absl::Status SaveRun(const RunRow& row) = 0;          // inserts or replaces
  virtual absl::StatusOr<RunRow> GetRun(const RunId& run) = 0;  // or NOT_FOUND
  virtual absl::StatusOr<std::vector<RunRow>> Runs() = 0;

  // One row for each (data, model, survivors); the first one stays. Rows are never removed.
  virtual absl::Status KeepCohort(const CohortRow& row) = 0;
  // Over these data, and this model if one is given.
  virtual absl::StatusOr<std::vector<CohortRow>> Cohorts(const Digest& data,
                                                         const std::optional<Digest>& model) = 0;

  virtual absl::Status PutSetting(std::string_view key, ByteView value) = 0;  // inserts or replaces
  virtual absl::StatusOr<Bytes> GetSetting(std::string_view key) = 0;         // or NOT_FOUND
};

}  // namespace atl::store

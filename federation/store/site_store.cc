#include "federation/store/site_store.h"

#include <algorithm>
#include <mutex>

#include "comms/base/files.h"
#include "comms/base/status.h"
#include "federation/store/database.h"

namespace atl::store {
namespace {

constexpr uint32_t kApplicationId = 0x41746f53;  // "AtoS"
constexpr uint64_t kMaxKeyBytes = 256;

const std::vector<std::string>& Schema() {
  static const std::vector<std::string>* const schema = new std::vector<std::string>{
      "CREATE TABLE slots (run BLOB NOT NULL, slot INTEGER NOT NULL, state INTEGER NOT NULL, "
      "record BLOB NOT NULL, erased INTEGER NOT NULL, PRIMARY KEY (run, slot)) STRICT",
      "CREATE TABLE runs (run BLOB NOT NULL PRIMARY KEY, job INTEGER NOT NULL, "
      "round INTEGER NOT NULL, first_model BLOB NOT NULL, model BLOB NOT NULL, "
      "range REAL NOT NULL) STRICT",
      "CREATE TABLE cohorts (data BLOB NOT NULL, model BLOB NOT NULL, survivors BLOB NOT NULL, "
      "run BLOB NOT NULL, slot INTEGER NOT NULL, signature BLOB NOT NULL, "
      "PRIMARY KEY (data, model, survivors)) STRICT",
      "CREATE TABLE settings (key TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT"};
  return *schema;
}

int64_t Signed(uint64_t value) { return static_cast<int64_t>(value); }

SlotRow SlotOf(SQLite::Statement& row) {
  return {SlotId(static_cast<uint64_t>(row.getColumn(0).getInt64())), row.getColumn(1).getUInt(),
          ColumnBlob(row, 2)};
}

class SqliteSiteStore : public SiteStore {
 public:
  explicit SqliteSiteStore(std::unique_ptr<Database> database) : database_(std::move(database)) {}

  absl::Status SaveSlot(const RunId& run, SlotId slot, uint32_t state, ByteView record) override {
    ATOLL_RETURN_IF_ERROR(CheckId(slot.value(), "slot"));
    ATOLL_RETURN_IF_ERROR(CheckSize(record.size(), "a slot's record"));
    std::lock_guard lock(mutex_);
    return database_->Transact([&]() -> absl::Status {
      SQLite::Statement save = database_->Prepare(
          "INSERT INTO slots VALUES (?, ?, ?, ?, 0) ON CONFLICT (run, slot) DO UPDATE SET "
          "state = excluded.state, record = excluded.record WHERE erased = 0");
      BindBlob(save, 1, run);
      save.bind(2, Signed(slot.value()));
      save.bind(3, int64_t{state});
      BindBlob(save, 4, record);
      if (save.exec() != 0) return absl::OkStatus();
      return absl::FailedPreconditionError(absl::StrCat(
          database_->path().string(), ": slot ", slot.value(), " was erased and is used up"));
    });
  }

  absl::StatusOr<SlotRow> GetSlot(const RunId& run, SlotId slot) override {
    ATOLL_RETURN_IF_ERROR(CheckId(slot.value(), "slot"));
    std::lock_guard lock(mutex_);
    SlotRow row;
    ATOLL_RETURN_IF_ERROR(database_->Run([&]() -> absl::Status {
      SQLite::Statement query =
          database_->Prepare("SELECT slot, state, record FROM slots WHERE run = ? AND slot = ?");
      BindBlob(query, 1, run);
      query.bind(2, Signed(slot.value()));
      if (!query.executeStep()) return absl::NotFoundError(absl::StrCat("no slot ", slot.value()));
      row = SlotOf(query);
      return absl::OkStatus();
    }));
    return row;
  }

  absl::StatusOr<std::vector<SlotRow>> Slots(const RunId& run) override {
    std::lock_guard lock(mutex_);
    std::vector<SlotRow> rows;
    ATOLL_RETURN_IF_ERROR(database_->Run([&]() -> absl::Status {
      SQLite::Statement query =
          database_->Prepare("SELECT slot, state, record FROM slots WHERE run = ? ORDER BY slot");
      BindBlob(query, 1, run);
      while (query.executeStep()) rows.push_back(SlotOf(query));
      return absl::OkStatus();
    }));
    return rows;
  }

  absl::Status EraseSlot(const RunId& run, SlotId slot, uint32_t state) override {
    ATOLL_RETURN_IF_ERROR(CheckId(slot.value(), "slot"));
    std::lock_guard lock(mutex_);
    ATOLL_RETURN_IF_ERROR(database_->Transact([&]() -> absl::Status {
      SQLite::Statement erase = database_->Prepare(
          "UPDATE slots SET state = ?, record = x'', erased = 1 WHERE run = ? AND slot = ?");
      erase.bind(1, int64_t{state});
      BindBlob(erase, 2, run);
      erase.bind(3, Signed(slot.value()));
      erase.exec();
      return absl::OkStatus();
    }));
    return database_->EmptyWriteAheadLog();
  }

  absl::Status SaveRun(const RunRow& row) override {
    ATOLL_RETURN_IF_ERROR(CheckId(row.job.value(), "job"));
    std::lock_guard lock(mutex_);
    return database_->Transact([&]() -> absl::Status {
      SQLite::Statement save =
          database_->Prepare("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?)");
      BindBlob(save, 1, row.run);
      save.bind(2, Signed(row.job.value()));
      save.bind(3, int64_t{row.round.value()});
      BindBlob(save, 4, row.first_model);
      BindBlob(save, 5, row.model);
      save.bind(6, row.range);
      save.exec();
      return absl::OkStatus();
    });
  }

  absl::StatusOr<RunRow> GetRun(const RunId& run) override {
    ATOLL_ASSIGN_OR_RETURN(std::vector<RunRow> rows, SelectRuns(" WHERE run = ?", &run));
    if (rows.empty()) return absl::NotFoundError(absl::StrCat("no run ", Hex(run)));
    return rows.front();
  }

  absl::StatusOr<std::vector<RunRow>> Runs() override {
    return SelectRuns(" ORDER BY run", nullptr);
  }

  absl::Status KeepCohort(const CohortRow& row) override {
    ATOLL_RETURN_IF_ERROR(CheckId(row.slot.value(), "slot"));
    if (row.survivors.size() > kMaxCohort) {
      return absl::InvalidArgumentError(
          absl::StrCat("a cohort of ", row.survivors.size(), " sites: must be <= ", kMaxCohort));
    }
    std::lock_guard lock(mutex_);
    return database_->Transact([&]() -> absl::Status {
      SQLite::Statement save =
          database_->Prepare("INSERT OR IGNORE INTO cohorts VALUES (?, ?, ?, ?, ?, ?)");
      BindBlob(save, 1, row.data);
      BindBlob(save, 2, row.model);
      ByteWriter survivors;
      for (SiteId site : row.survivors) survivors.U32(site.value());
      BindBlob(save, 3, survivors.bytes());
      BindBlob(save, 4, row.run);
      save.bind(5, Signed(row.slot.value()));
      BindBlob(save, 6, row.signature);
      save.exec();
      return absl::OkStatus();
    });
  }

  absl::StatusOr<std::vector<CohortRow>> Cohorts(const Digest& data,
                                                 const std::optional<Digest>& model) override {
    std::lock_guard lock(mutex_);
    std::vector<CohortRow> rows;
    ATOLL_RETURN_IF_ERROR(database_->Run([&]() -> absl::Status {
      SQLite::Statement query = database_->Prepare(
          std::string("SELECT model, survivors, run, slot, signature FROM cohorts WHERE data = ?") +
          (model ? " AND model = ?" : "") + " ORDER BY rowid");
      BindBlob(query, 1, data);
      if (model) BindBlob(query, 2, *model);
      while (query.executeStep()) {
        CohortRow row;
        row.data = data;
        ATOLL_ASSIGN_OR_RETURN(row.model, ColumnDigest(query, 0, *database_));
        const Bytes survivors = ColumnBlob(query, 1);
        ByteReader reader(survivors);
        for (size_t i = 0; i < survivors.size() / 4; ++i) {
          row.survivors.push_back(SiteId(reader.U32()));
        }
        ATOLL_ASSIGN_OR_RETURN(row.run, ColumnDigest(query, 2, *database_));
        row.slot = SlotId(static_cast<uint64_t>(query.getColumn(3).getInt64()));
        const Bytes signature = ColumnBlob(query, 4);
        if (survivors.size() % 4 != 0 || signature.size() != row.signature.size()) {
          return absl::DataLossError(
              absl::StrCat(database_->path().string(), ": a signed cohort is damaged"));
        }
        std::copy(signature.begin(), signature.end(), row.signature.begin());
        rows.push_back(std::move(row));
      }
      return absl::OkStatus();
    }));
    return rows;
  }

  absl::Status PutSetting(std::string_view key, ByteView value) override {
    if (key.empty() || key.size() > kMaxKeyBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("a setting's key of ", key.size(), " bytes must have 1..", kMaxKeyBytes));
    }
    ATOLL_RETURN_IF_ERROR(CheckSize(value.size(), "a setting"));
    std::lock_guard lock(mutex_);
    return database_->Transact([&]() -> absl::Status {
      SQLite::Statement save = database_->Prepare("INSERT OR REPLACE INTO settings VALUES (?, ?)");
      save.bind(1, std::string(key));
      BindBlob(save, 2, value);
      save.exec();
      return absl::OkStatus();
    });
  }

  absl::StatusOr<Bytes> GetSetting(std::string_view key) override {
    std::lock_guard lock(mutex_);
    Bytes value;
    ATOLL_RETURN_IF_ERROR(database_->Run([&]() -> absl::Status {
      SQLite::Statement query = database_->Prepare("SELECT value FROM settings WHERE key = ?");
      query.bind(1, std::string(key));
      if (!query.executeStep()) {
        return absl::NotFoundError(absl::StrCat("no setting '", std::string(key), "'"));
      }
      value = ColumnBlob(query, 0);
      return absl::OkStatus();
    }));
    return value;
  }

 private:
  absl::StatusOr<std::vector<RunRow>> SelectRuns(const std::string& which, const RunId* run) {
    std::lock_guard lock(mutex_);
    std::vector<RunRow> rows;
    ATOLL_RETURN_IF_ERROR(database_->Run([&]() -> absl::Status {
      SQLite::Statement query =
          database_->Prepare("SELECT run, job, round, first_model, model, range FROM runs" + which);
      if (run != nullptr) BindBlob(query, 1, *run);
      while (query.executeStep()) {
        RunRow row;
        ATOLL_ASSIGN_OR_RETURN(row.run, ColumnDigest(query, 0, *database_));
        row.job = JobId(static_cast<uint64_t>(query.getColumn(1).getInt64()));
        row.round = RoundId(query.getColumn(2).getUInt());
        ATOLL_ASSIGN_OR_RETURN(row.first_model, ColumnDigest(query, 3, *database_));
        ATOLL_ASSIGN_OR_RETURN(row.model, ColumnDigest(query, 4, *database_));
        row.range = query.getColumn(5).getDouble();
        rows.push_back(row);
      }
      return absl::OkStatus();
    }));
    return rows;
  }

  std::mutex mutex_;
  std::unique_ptr<Database> database_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SiteStore>> SiteStore::Open(const std::filesystem::path& folder) {
  ATOLL_RETURN_IF_ERROR(MakeFolder(folder, 0700));
  ATOLL_ASSIGN_OR_RETURN(
      std::unique_ptr<Database> database,
      Database::Open({folder / "site.db", "site agent", kApplicationId, Schema()}));
  return std::make_unique<SqliteSiteStore>(std::move(database));
}

}  // namespace atl::store

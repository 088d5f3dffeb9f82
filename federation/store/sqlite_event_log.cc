#include <algorithm>
#include <mutex>

#include "comms/base/files.h"
#include "comms/base/status.h"
#include "federation/store/database.h"
#include "federation/store/event_log.h"

namespace atl::store {
namespace {

constexpr uint32_t kApplicationId = 0x41746f43;  // "AtoC"

const std::vector<std::string>& Schema() {
  static const std::vector<std::string>* const schema = new std::vector<std::string>{
      "CREATE TABLE events (id INTEGER PRIMARY KEY, job INTEGER NOT NULL, kind INTEGER NOT NULL, "
      "payload BLOB NOT NULL, hash BLOB NOT NULL) STRICT",
      "CREATE INDEX events_by_job ON events (job, id)",
      "CREATE TABLE jobs (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT",
      "CREATE TABLE sites (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT",
      "CREATE TABLE secrets (job INTEGER NOT NULL, slot INTEGER NOT NULL, site INTEGER NOT NULL, "
      "value BLOB NOT NULL, PRIMARY KEY (job, slot, site)) STRICT"};
  return *schema;
}

std::string TableName(Table table) { return table == Table::kJobs ? "jobs" : "sites"; }

int64_t Signed(uint64_t value) { return static_cast<int64_t>(value); }

class SqliteEventLog : public EventLog {
 public:
  explicit SqliteEventLog(std::unique_ptr<Database> database) : database_(std::move(database)) {}

  // Finds the end of the chain.
  absl::Status Load() {
    return database_->Run([&]() -> absl::Status {
      SQLite::Statement last =
          database_->Prepare("SELECT id, hash FROM events ORDER BY id DESC LIMIT 1");
      if (!last.executeStep()) return absl::OkStatus();
      last_id_ = static_cast<uint64_t>(last.getColumn(0).getInt64());
      ATOLL_ASSIGN_OR_RETURN(last_hash_, ColumnDigest(last, 1, *database_));
      return absl::OkStatus();
    });
  }

  absl::StatusOr<uint64_t> Write(const Batch& batch) override {
    ATOLL_RETURN_IF_ERROR(CheckBatch(batch));
    std::lock_guard lock(mutex_);
    uint64_t id = last_id_;
    Digest hash = last_hash_;
    ATOLL_RETURN_IF_ERROR(database_->Transact([&]() -> absl::Status {
      for (const Batch::NewEvent& event : batch.events) {
        hash = ChainHash(hash, ++id, event.job, event.kind, event.payload);
        SQLite::Statement insert = database_->Prepare("INSERT INTO events VALUES (?, ?, ?, ?, ?)");
        insert.bind(1, Signed(id));
        insert.bind(2, Signed(event.job.value()));
        insert.bind(3, int64_t{event.kind});
        BindBlob(insert, 4, event.payload);
        BindBlob(insert, 5, hash);
        insert.exec();
      }
      for (const Batch::NewRecord& record : batch.records) {
        SQLite::Statement insert = database_->Prepare("INSERT OR REPLACE INTO " +
                                                      TableName(record.table) + " VALUES (?, ?)");
        insert.bind(1, Signed(record.id));
        BindBlob(insert, 2, record.value);
        insert.exec();
      }
      for (const RevealedSecret& secret : batch.secrets) {
        SQLite::Statement insert =
            database_->Prepare("INSERT OR REPLACE INTO secrets VALUES (?, ?, ?, ?)");
        insert.bind(1, Signed(secret.job.value()));
        insert.bind(2, Signed(secret.slot.value()));
        insert.bind(3, int64_t{secret.site.value()});
        BindBlob(insert, 4, secret.value);
        insert.exec();
      }
      return absl::OkStatus();
    }));
    last_id_ = id;
    last_hash_ = hash;
    return last_id_;
  }

  absl::StatusOr<std::vector<Event>> Read(JobId job, uint64_t after_id, uint32_t limit) override {
    ATOLL_RETURN_IF_ERROR(CheckId(job.value(), "job"));
    return Select("WHERE e.job = ?1 AND e.id > ?2 ", job, after_id, limit);
  }

  absl::StatusOr<std::vector<Event>> ReadAll(uint64_t after_id, uint32_t limit) override {
    return Select("WHERE ?1 = 0 AND e.id > ?2 ", JobId(0), after_id, limit);
  }

  absl::StatusOr<Event> Head() override {
    std::lock_guard lock(mutex_);
    Event head;
    head.id = last_id_;
    head.hash = last_hash_;
    return head;
  }

  absl::StatusOr<Bytes> Get(Table table, uint64_t id) override {
    ATOLL_RETURN_IF_ERROR(CheckId(id, "record"));
    std::lock_guard lock(mutex_);
    Bytes value;
    ATOLL_RETURN_IF_ERROR(database_->Run([&]() -> absl::Status {
      SQLite::Statement query =
          database_->Prepare("SELECT value FROM " + TableName(table) + " WHERE id = ?");
      query.bind(1, Signed(id));
      if (!query.executeStep()) {
        return absl::NotFoundError(absl::StrCat("no record ", id, " among ", TableName(table)));
      }
      value = ColumnBlob(query, 0);
      return absl::OkStatus();
    }));
    return value;
  }

  absl::StatusOr<std::vector<Record>> List(Table table) override {
    std::lock_guard lock(mutex_);
    std::vector<Record> records;
    ATOLL_RETURN_IF_ERROR(database_->Run([&]() -> absl::Status {
      SQLite::Statement query =
          database_->Prepare("SELECT id, value FROM " + TableName(table) + " ORDER BY id");
      while (query.executeStep()) {
        records.push_back(
            {static_cast<uint64_t>(query.getColumn(0).getInt64()), ColumnBlob(query, 1)});
      }
      return absl::OkStatus();
    }));
    return records;
  }

  absl::StatusOr<std::vector<RevealedSecret>> Secrets(JobId job, SlotId slot) override {
    ATOLL_RETURN_IF_ERROR(CheckId(job.value(), "job"));
    ATOLL_RETURN_IF_ERROR(CheckId(slot.value(), "slot"));
    std::lock_guard lock(mutex_);
    std::vector<RevealedSecret> secrets;
    ATOLL_RETURN_IF_ERROR(database_->Run([&]() -> absl::Status {
      SQLite::Statement query = database_->Prepare(
          "SELECT site, value FROM secrets WHERE job = ? AND slot = ? ORDER BY site");
      query.bind(1, Signed(job.value()));
      query.bind(2, Signed(slot.value()));
      while (query.executeStep()) {
        secrets.push_back({job, slot, SiteId(query.getColumn(0).getUInt()), ColumnBlob(query, 1)});
      }
      return absl::OkStatus();
    }));
    return secrets;
  }

  absl::StatusOr<std::vector<std::pair<JobId, SlotId>>> SlotsWithSecrets() override {
    std::lock_guard lock(mutex_);
    std::vector<std::pair<JobId, SlotId>> slots;
    ATOLL_RETURN_IF_ERROR(database_->Run([&]() -> absl::Status {
      SQLite::Statement query =
          database_->Prepare("SELECT DISTINCT job, slot FROM secrets ORDER BY job, slot");
      while (query.executeStep()) {
        slots.emplace_back(JobId(static_cast<uint64_t>(query.getColumn(0).getInt64())),
                           SlotId(static_cast<uint64_t>(query.getColumn(1).getInt64())));
      }
      return absl::OkStatus();
    }));
    return slots;
  }

  absl::Status EraseSecrets(JobId job, SlotId slot) override {
    ATOLL_RETURN_IF_ERROR(CheckId(job.value(), "job"));
    ATOLL_RETURN_IF_ERROR(CheckId(slot.value(), "slot"));
    std::lock_guard lock(mutex_);
    ATOLL_RETURN_IF_ERROR(database_->Transact([&]() -> absl::Status {
      SQLite::Statement erase =
          database_->Prepare("DELETE FROM secrets WHERE job = ? AND slot = ?");
      erase.bind(1, Signed(job.value()));
      erase.bind(2, Signed(slot.value()));
      erase.exec();
      return absl::OkStatus();
    }));
    return database_->EmptyWriteAheadLog();
  }

 private:
  absl::StatusOr<std::vector<Event>> Select(const std::string& where, JobId job, uint64_t after_id,
                                            uint32_t limit) {
    std::vector<Event> events;
    if (!CheckId(after_id, "event").ok()) return events;  // nothing comes after it
    std::lock_guard lock(mutex_);
    ATOLL_RETURN_IF_ERROR(database_->Run([&]() -> absl::Status {
      SQLite::Statement query = database_->Prepare(
          "SELECT e.id, e.job, e.kind, e.payload, e.hash, p.hash "
          "FROM events e LEFT JOIN events p ON p.id = e.id - 1 " +
          where + "ORDER BY e.id LIMIT ?3");
      query.bind(1, Signed(job.value()));
      query.bind(2, Signed(after_id));
      query.bind(3, int64_t{std::min(limit, kMaxEventsRead)});
      uint64_t bytes = 0;
      while (query.executeStep()) {
        bytes += static_cast<uint64_t>(query.getColumn(3).getBytes());
        if (!events.empty() && bytes > kMaxBytesRead) break;
        ATOLL_ASSIGN_OR_RETURN(Event event, Checked(query));
        events.push_back(std::move(event));
      }
      return absl::OkStatus();
    }));
    return events;
  }

  // The event in the query's row, or DATA_LOSS when its hash is not that of its content and the
  // event before.
  absl::StatusOr<Event> Checked(SQLite::Statement& row) {
    Event event;
    event.id = static_cast<uint64_t>(row.getColumn(0).getInt64());
    event.job = JobId(static_cast<uint64_t>(row.getColumn(1).getInt64()));
    event.kind = static_cast<uint32_t>(row.getColumn(2).getInt64());
    event.payload = ColumnBlob(row, 3);
    ATOLL_ASSIGN_OR_RETURN(event.hash, ColumnDigest(row, 4, *database_));
    Digest previous{};
    if (event.id != 1) {
      if (row.getColumn(5).isNull()) {
        return absl::DataLossError(
            absl::StrCat(database_->path().string(), ": event ", event.id - 1, " is missing"));
      }
      ATOLL_ASSIGN_OR_RETURN(previous, ColumnDigest(row, 5, *database_));
    }
    if (ChainHash(previous, event.id, event.job, event.kind, event.payload) != event.hash) {
      return absl::DataLossError(absl::StrCat(database_->path().string(), ": event ", event.id,
                                              " is not the one that was written"));
    }
    return event;
  }

  std::mutex mutex_;
  std::unique_ptr<Database> database_;
  uint64_t last_id_ = 0;
  Digest last_hash_{};
};

}  // namespace

absl::StatusOr<std::unique_ptr<EventLog>> OpenEventLog(const std::filesystem::path& folder) {
  ATOLL_RETURN_IF_ERROR(MakeFolder(folder));
  ATOLL_ASSIGN_OR_RETURN(
      std::unique_ptr<Database> database,
      Database::Open({folder / "atoll.db", "coordinator", kApplicationId, Schema()}));
  auto log = std::make_unique<SqliteEventLog>(std::move(database));
  ATOLL_RETURN_IF_ERROR(log->Load());
  return log;
}

}  // namespace atl::store

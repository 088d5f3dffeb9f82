#include "federation/store/database.h"

#include <fcntl.h>
#include <sqlite3.h>

#include <cerrno>

#include "comms/base/log.h"
#include "comms/base/status.h"
#include "federation/store/event_log.h"

namespace atl::store {
namespace {

constexpr int kSchemaVersion = 2;
// Somebody may look at the database with another program.
constexpr int kBusyTimeoutMs = 5'000;

// The last system error on the database's file or its write-ahead log, 0 if there was none.
// (sqlite3_system_errno has forgotten it by the time a failed write has been undone.)
int LastSystemError(sqlite3* db) {
  int error = 0;
  sqlite3_file* log = nullptr;
  if (sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) == SQLITE_OK &&
      log != nullptr && log->pMethods != nullptr) {
    log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &error);
  }
  if (error == 0) sqlite3_file_control(db, "main", SQLITE_FCNTL_LAST_ERRNO, &error);
  return error;
}

int64_t PragmaInt(SQLite::Database& db, const std::string& name) {
  return db.execAndGet("PRAGMA " + name).getInt64();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const DatabaseOptions& options) {
  ATOLL_ASSIGN_OR_RETURN(FileLock lock,
                         FileLock::Take(options.path.string() + ".lock", options.user));
  std::unique_ptr<Database> database(new Database(options.path, std::move(lock)));
  {
    // SQLite would make it readable by all; its log and index files take over the mode.
    const OwnedFd fd(open(options.path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!fd.valid()) return FileError(errno, options.path, "cannot open the database");
  }
  ATOLL_RETURN_IF_ERROR(database->Run([&]() -> absl::Status {
    database->db_ = std::make_unique<SQLite::Database>(options.path.string(),
                                                       SQLite::OPEN_READWRITE, kBusyTimeoutMs);
    return database->SetUp(options);
  }));
  // What a crash left in the log may hold values that were being erased. A disk that is full, or
  // somebody who reads, must not keep the database from being opened; the next erasure tries again.
  if (const absl::Status emptied = database->EmptyWriteAheadLog(); !emptied.ok()) {
    if (absl::IsDataLoss(emptied)) return emptied;
    spdlog::warn("{}", atl::ToString(emptied));
  }
  ATOLL_RETURN_IF_ERROR(SyncFolder(options.path.parent_path()));
  return database;
}

absl::Status Database::SetUp(const DatabaseOptions& options) {
  SQLite::Database& db = *db_;
  const int64_t tables = db.execAndGet("SELECT count(*) FROM sqlite_master").getInt64();
  const int64_t version = PragmaInt(db, "user_version");
  const bool is_new = tables == 0 && version == 0;
  if (!is_new) {
    if (PragmaInt(db, "application_id") != options.application_id) {
      return absl::DataLossError(
          absl::StrCat(path_.string(), ": is not the database of a ", options.user));
    }
    if (version != kSchemaVersion) {
      return absl::FailedPreconditionError(absl::StrCat(
          path_.string(), ": has version ", version, "; this program knows ", kSchemaVersion,
          version > kSchemaVersion ? ": use a newer one" : ": begin with a new folder"));
    }
    const std::string check = db.execAndGet("PRAGMA quick_check(1)").getString();
    if (check != "ok") {
      return absl::DataLossError(absl::StrCat(path_.string(), ": is damaged: ", check));
    }
  }
  const std::string mode = db.execAndGet("PRAGMA journal_mode = WAL").getString();
  if (mode != "wal") {
    return absl::UnavailableError(absl::StrCat(path_.string(),
                                               ": cannot use a write-ahead log here (journal mode ",
                                               mode, "): is it on a network file system?"));
  }
  db.exec("PRAGMA synchronous = FULL");
  db.exec("PRAGMA secure_delete = ON");
  if (!is_new) return absl::OkStatus();
  SQLite::Transaction transaction(db);
  for (const std::string& statement : options.schema) db.exec(statement);
  db.exec("PRAGMA application_id = " + std::to_string(options.application_id));
  db.exec("PRAGMA user_version = " + std::to_string(kSchemaVersion));
  transaction.commit();
  return absl::OkStatus();
}

absl::Status Database::Run(const std::function<absl::Status()>& body) {
  try {
    return body();
  } catch (const SQLite::Exception& error) {
    return ToStatus(error);
  }
}

absl::Status Database::Transact(const std::function<absl::Status()>& body) {
  return Run([&]() -> absl::Status {
    SQLite::Transaction transaction(*db_);  // rolls back when it is not committed
    ATOLL_RETURN_IF_ERROR(body());
    transaction.commit();
    return absl::OkStatus();
  });
}

absl::Status Database::EmptyWriteAheadLog() {
  return Run([&]() -> absl::Status {
    SQLite::Statement statement = Prepare("PRAGMA wal_checkpoint(TRUNCATE)");
    if (statement.executeStep() && statement.getColumn(0).getInt() != 0) {
      return absl::UnavailableError(absl::StrCat(
          path_.string(),
          ": cannot empty the write-ahead log while another program reads the database"));
    }
    return absl::OkStatus();
  });
}

absl::Status Database::ToStatus(const SQLite::Exception& error) const {
  const std::string message = absl::StrCat(path_.string(), ": ", error.what());
  const int system_error = db_ ? LastSystemError(db_->getHandle()) : 0;
  switch (error.getErrorCode()) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    // Our statements are fixed: one that no longer fits the file ("unsupported file format", "no
    // such table") means that the file is not as it was written.
    case SQLITE_ERROR:
      return absl::DataLossError(message);
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(message);
    case SQLITE_IOERR:
      if (system_error == ENOSPC || system_error == EDQUOT || system_error == EFBIG) {
        return FileError(system_error, path_, "cannot write");
      }
      return absl::UnavailableError(
          absl::StrCat(message, " (", std::generic_category().message(system_error), ")"));
    case SQLITE_PERM:
    case SQLITE_READONLY:
      return absl::PermissionDeniedError(message);
    case SQLITE_TOOBIG:
      return absl::InvalidArgumentError(message);
    default:
      return absl::UnavailableError(message);
  }
}

void BindBlob(SQLite::Statement& statement, int index, ByteView bytes) {
  // A null pointer would bind NULL.
  statement.bind(index, bytes.empty() ? static_cast<const void*>("") : bytes.data(),
                 static_cast<int>(bytes.size()));
}

Bytes ColumnBlob(SQLite::Statement& statement, int index) {
  const SQLite::Column column = statement.getColumn(index);
  const auto* data = static_cast<const uint8_t*>(column.getBlob());
  return Bytes(data, data + column.getBytes());
}

absl::StatusOr<Digest> ColumnDigest(SQLite::Statement& statement, int index,
                                    const Database& database) {
  const Bytes bytes = ColumnBlob(statement, index);
  Digest digest{};
  if (bytes.size() != digest.size()) {
    return absl::DataLossError(absl::StrCat(database.path().string(), ": a digest of ",
                                            bytes.size(), " bytes must have 32"));
  }
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

absl::Status CheckId(uint64_t id, std::string_view what) {
  if (id <= static_cast<uint64_t>(INT64_MAX)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(what), " ", id, " must be less than 2^63"));
}

absl::Status CheckSize(uint64_t bytes, std::string_view what) {
  if (bytes <= kMaxPayloadBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(std::string(what), " of ", bytes,
                                                 " bytes must have at most ", kMaxPayloadBytes));
}

}  // namespace atl::store

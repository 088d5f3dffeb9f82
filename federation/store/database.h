// One SQLite database of Atoll's: how it is opened, and what its errors mean.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"
#include "federation/store/file.h"

namespace atl::store {

struct DatabaseOptions {
  std::filesystem::path path;
  std::string user;  // "coordinator": who holds the lock, for the message to a second one
  uint32_t application_id = 0;      // tells our databases from others'
  std::vector<std::string> schema;  // statements that make the version it knows
};

// An open database: WAL, synchronous=FULL, secure_delete, locked against a second opener by
// `path`.lock. Not thread-safe: its owner holds a mutex around every call. SQLite's exceptions end
// here.
class Database {
 public:
  // Makes the database if there is none. FAILED_PRECONDITION when it is in use, or was made by
  // another version (there are no migrations); DATA_LOSS when it is damaged or not ours.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const DatabaseOptions& options);

  // Runs `body`, which may throw SQLite::Exception: DATA_LOSS, RESOURCE_EXHAUSTED or UNAVAILABLE,
  // with the path.
  absl::Status Run(const std::function<absl::Status()>& body);
  // The same within a transaction, which is committed when `body` gives OK and rolled back
  // otherwise.
  absl::Status Transact(const std::function<absl::Status()>& body);
  // Only within Run or Transact; must go before they end.
  SQLite::Statement Prepare(const std::string& sql) { return SQLite::Statement(*db_, sql); }
  // Moves all of the write-ahead log into the database and cuts it to nothing, so that no erased
  // value is left in it.
  absl::Status EmptyWriteAheadLog();

  const std::filesystem::path& path() const { return path_; }

 private:
  Database(std::filesystem::path path, FileLock lock)
      : path_(std::move(path)), lock_(std::move(lock)) {}
  absl::Status ToStatus(const SQLite::Exception& error) const;
  absl::Status SetUp(const DatabaseOptions& options);  // settings, schema, checks

  std::filesystem::path path_;
  FileLock lock_;  // outlives the connection
  std::unique_ptr<SQLite::Database> db_;
};

// Blobs of columns and parameters; an empty blob is not NULL.
void BindBlob(SQLite::Statement& statement, int index, ByteView bytes);
Bytes ColumnBlob(SQLite::Statement& statement, int index);
// DATA_LOSS when a column does not have 32 bytes.
absl::StatusOr<Digest> ColumnDigest(SQLite::Statement& statement, int index,
                                    const Database& database);
// SQLite's integers are signed. INVALID_ARGUMENT for ids from 2^63 on.
absl::Status CheckId(uint64_t id, std::string_view what);
// INVALID_ARGUMENT for values over kMaxPayloadBytes.
absl::Status CheckSize(uint64_t bytes, std::string_view what);

}  // namespace atl::store

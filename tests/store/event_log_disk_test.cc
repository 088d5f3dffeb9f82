// What the event log does when disk, process or people misbehave.
#include <SQLiteCpp/SQLiteCpp.h>
#include <sys/stat.h>

#include "comms/base/files.h"
#include "comms/base/random.h"
#include "federation/store/event_log.h"
#include "federation/store/site_store.h"
#include "gmock/gmock.h"
#include "tests/store/faults.h"

namespace atl::store {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Bytes Text(std::string_view text) { return Bytes(text.begin(), text.end()); }

// A copy: the StatusOr is gone before a loop over its value begins.
std::vector<Event> Events(absl::StatusOr<std::vector<Event>> events) {
  return std::move(events).value();
}

// What event `id` of the crash tests holds.
Bytes Payload(uint64_t id) { return Bytes(id * 37 % 900, static_cast<uint8_t>(id)); }

class EventLogDiskTest : public testing::Test {
 protected:
  EventLogDiskTest() : folder_(TemporaryFolder::Create("atoll-log-test-").value()) {}
  fs::path Folder() const { return folder_.path() / "coordinator"; }
  fs::path File() const { return Folder() / "atoll.db"; }
  fs::path Wal() const { return Folder() / "atoll.db-wal"; }
  // Behind the log's back.
  void Sql(const std::string& statement) const {
    SQLite::Database db(File().string(), SQLite::OPEN_READWRITE, 1000);
    db.exec(statement);
  }
  // Three events, then closed.
  void WriteThree() const {
    const auto log = OpenEventLog(Folder()).value();
    for (const char* text : {"one", "two", "three"}) {
      ASSERT_TRUE(log->Append(JobId(1), 1, Text(text)).ok());
    }
  }
  TemporaryFolder folder_;
};

TEST_F(EventLogDiskTest, SurvivesARestart) {
  WriteThree();
  {
    const auto log = OpenEventLog(Folder()).value();
    EXPECT_EQ(log->Head().value().id, 3u);
    EXPECT_EQ(log->Append(JobId(1), 1, Text("four")).value(), 4u);
    ASSERT_TRUE(log->Put(Table::kJobs, 1, Text("job")).ok());
  }
  const auto log = OpenEventLog(Folder()).value();
  EXPECT_THAT(log->ReadAll(0, 10).value(), SizeIs(4));
  EXPECT_EQ(log->Get(Table::kJobs, 1).value(), Text("job"));
  EXPECT_EQ(log->VerifyChain(), absl::OkStatus());
}

TEST_F(EventLogDiskTest, NobodyElseReadsIt) {
  const auto log = OpenEventLog(Folder()).value();
  ASSERT_TRUE(log->Append(JobId(1), 1, {}).ok());
  for (const fs::path& path : {File(), Wal()}) {
    struct stat info;
    ASSERT_EQ(stat(path.c_str(), &info), 0) << path;
    EXPECT_EQ(info.st_mode & 0777, 0600u) << path;
  }
}

TEST_F(EventLogDiskTest, ASecondCoordinatorIsRefused) {
  const auto log = OpenEventLog(Folder()).value();
  const absl::Status here = OpenEventLog(Folder()).status();
  EXPECT_EQ(here.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(here.message()),
              HasSubstr("another coordinator uses " + Folder().string()));
  EXPECT_EQ(InChild([&] {
              return OpenEventLog(Folder()).status().code() == absl::StatusCode::kFailedPrecondition
                         ? 0
                         : 1;
            }),
            0);
  EXPECT_TRUE(log->Append(JobId(1), 1, {}).ok());
}

TEST_F(EventLogDiskTest, ChangedEventsAreNoticed) {
  const struct {
    const char* sql;
    const char* names;
  } kCases[] = {{"UPDATE events SET payload = x'00' WHERE id = 2", "event 2"},
                {"UPDATE events SET kind = 9 WHERE id = 3", "event 3"},
                {"UPDATE events SET job = 9 WHERE id = 1", "event 1"},
                {"UPDATE events SET hash = zeroblob(32) WHERE id = 2", "event 2"},
                {"UPDATE events SET hash = zeroblob(31) WHERE id = 2", "31 bytes"},
                {"DELETE FROM events WHERE id = 1", "event 1"},
                {"DELETE FROM events WHERE id = 2", "event 2"},
                {"UPDATE events SET id = 9 WHERE id = 3", "event 8"}};
  for (const auto& c : kCases) {
    fs::remove_all(Folder());
    WriteThree();
    Sql(c.sql);
    const auto log = OpenEventLog(Folder()).value();
    const absl::Status status = log->VerifyChain();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << c.sql;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.names)) << c.sql;
  }
}

TEST_F(EventLogDiskTest, AJobsReaderNoticesToo) {
  WriteThree();
  Sql("UPDATE events SET payload = x'00' WHERE id = 2");
  const auto log = OpenEventLog(Folder()).value();
  EXPECT_EQ(log->Read(JobId(1), 0, 10).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(log->Read(JobId(1), 0, 1).value()[0].payload, Text("one"));
}

TEST_F(EventLogDiskTest, WhatIsNoDatabaseOfOurs) {
  ASSERT_TRUE(MakeFolder(Folder()).ok());
  ASSERT_TRUE(WriteFileAtomic(File(), Bytes(5000, 'x')).ok());
  EXPECT_EQ(OpenEventLog(Folder()).status().code(), absl::StatusCode::kDataLoss);
  fs::remove(File());
  {
    SQLite::Database(File().string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE)
        .exec("CREATE TABLE t (x)");
  }
  const absl::Status other = OpenEventLog(Folder()).status();
  EXPECT_EQ(other.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(other.message()), HasSubstr("is not the database of a coordinator"));
  fs::remove_all(Folder());
  // A site's is no coordinator's.
  ASSERT_TRUE(SiteStore::Open(Folder()).ok());
  fs::rename(Folder() / "site.db", File());
  EXPECT_EQ(OpenEventLog(Folder()).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(EventLogDiskTest, AnotherVersionIsRefused) {
  WriteThree();
  const std::pair<int, const char*> versions[] = {{1, "new folder"}, {3, "use a newer one"}};
  for (const auto& [version, what_to_do] : versions) {
    Sql(absl::StrCat("PRAGMA user_version = ", version));
    const absl::Status status = OpenEventLog(Folder()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("has version ", version)));
    EXPECT_THAT(std::string(status.message()), HasSubstr(what_to_do));
  }
}

TEST_F(EventLogDiskTest, AFolderThatCannotBeMade) {
  ASSERT_TRUE(WriteFileAtomic(folder_.path() / "file", {}).ok());
  EXPECT_FALSE(OpenEventLog(folder_.path() / "file" / "coordinator").ok());
}

// Bytes of the database are overwritten at random; opening, verifying or reading says DATA_LOSS, or
// all is as it was (the byte was one that nobody reads).
TEST_F(EventLogDiskTest, DamageIsNoticedOrHarmless) {
  {
    const auto log = OpenEventLog(Folder()).value();
    for (uint64_t id = 1; id <= 100; ++id) {
      ASSERT_TRUE(log->Append(JobId(1 + id % 3), 1, Payload(id)).ok());
    }
  }
  const Bytes original = ReadFile(File(), 1 << 24).value();
  SeededRandom random({.seed = TestSeed(), .label = "damage"});
  int noticed = 0;
  for (int attempt = 0; attempt < 150; ++attempt) {
    Bytes damaged = original;
    const size_t at = random.Below(damaged.size() - 64);
    for (size_t i = 0; i < 64; ++i) damaged[at + i] = static_cast<uint8_t>(random.Next());
    fs::remove(Wal());
    ASSERT_TRUE(WriteFileAtomic(File(), damaged).ok());
    const absl::StatusOr<std::unique_ptr<EventLog>> log = OpenEventLog(Folder());
    const absl::Status status = log.ok() ? (*log)->VerifyChain() : log.status();
    if (!status.ok()) {
      ++noticed;
      EXPECT_THAT(status.code(), AnyOf(absl::StatusCode::kDataLoss,
                                       // the version number in the file's head
                                       absl::StatusCode::kFailedPrecondition))
          << "byte " << at << ": " << status;
      continue;
    }
    EXPECT_EQ((*log)->Head().value().id, 100u) << "byte " << at;
    uint64_t id = 0;
    for (const Event& event : Events((*log)->ReadAll(0, 1000))) {
      EXPECT_EQ(event.payload, Payload(++id)) << "byte " << at;
    }
    EXPECT_EQ(id, 100u) << "byte " << at;
  }
  EXPECT_GT(noticed, 50);
}

TEST_F(EventLogDiskTest, ErasedSecretsAreGoneFromTheFiles) {
  const std::string secret = "0123456789-a-secret-that-nobody-may-find";
  const auto log = OpenEventLog(Folder()).value();
  Batch batch;
  // Small ones, and one that takes several pages.
  for (uint32_t site = 1; site <= 50; ++site) {
    std::string value = secret;
    while (site == 7 && value.size() < 20'000) value += secret;
    batch.secrets.push_back({JobId(1), SlotId(4), SiteId(site), Text(value)});
    batch.secrets.push_back({JobId(1), SlotId(5), SiteId(site), Text("kept")});
    batch.events.push_back({JobId(1), 1, Text("event")});
  }
  ASSERT_TRUE(log->Write(batch).ok());
  // Replaced values must go as well.
  batch.events.clear();
  for (RevealedSecret& s : batch.secrets) s.value.push_back('+');
  ASSERT_TRUE(log->Write(batch).ok());
  ASSERT_TRUE(FileContains(Wal(), secret));
  ASSERT_EQ(log->EraseSecrets(JobId(1), SlotId(4)), absl::OkStatus());
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(Folder())) {
    EXPECT_FALSE(FileContains(entry.path(), secret)) << entry.path();
    ++files;
  }
  EXPECT_GE(files, 2u);
  EXPECT_THAT(log->Secrets(JobId(1), SlotId(5)).value(), SizeIs(50));
}

// Killed between the erasure and the emptying of the log: the next start makes good for it.
TEST_F(EventLogDiskTest, OpeningEmptiesTheWriteAheadLog) {
  const std::string secret = "0123456789-a-secret-that-nobody-may-find";
  ASSERT_EQ(InChild([&] {
              auto log = OpenEventLog(Folder()).value().release();  // never closed
              Batch batch;
              batch.secrets.push_back({JobId(1), SlotId(1), SiteId(1), Text(secret)});
              if (!log->Write(batch).ok()) return 1;
              // What EraseSecrets does first.
              Sql("PRAGMA wal_autocheckpoint = 0; PRAGMA secure_delete = ON; DELETE FROM secrets");
              return 0;
            }),
            0);
  ASSERT_TRUE(FileContains(Wal(), secret));
  const auto log = OpenEventLog(Folder()).value();
  EXPECT_FALSE(FileContains(File(), secret));
  EXPECT_FALSE(FileContains(Wal(), secret));
  EXPECT_THAT(log->Secrets(JobId(1), SlotId(1)).value(), IsEmpty());
}

TEST_F(EventLogDiskTest, AReaderInTheWayOfErasingIsReported) {
  const auto log = OpenEventLog(Folder()).value();
  Batch batch;
  batch.secrets.push_back({JobId(1), SlotId(1), SiteId(1), Text("secret")});
  ASSERT_TRUE(log->Write(batch).ok());
  {
    SQLite::Database reader(File().string(), SQLite::OPEN_READONLY);
    SQLite::Statement query(reader, "SELECT * FROM secrets");
    ASSERT_TRUE(query.executeStep());
    const absl::Status status = log->EraseSecrets(JobId(1), SlotId(1));
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("another program reads the database"));
  }
  EXPECT_EQ(log->EraseSecrets(JobId(1), SlotId(1)), absl::OkStatus());
}

// Fills the disk with batches; the one that does not fit leaves nothing, and what was acknowledged
// stays.
int FillDisk(const fs::path& folder) {
  uint64_t last = 0;
  Digest head{};
  {
    const auto log = OpenEventLog(folder);
    if (!log.ok()) return 1;
    absl::Status status;
    for (int i = 0; i < 1000 && status.ok(); ++i) {
      Batch batch;
      batch.events = {{JobId(1), 1, Bytes(3000, 1)}, {JobId(1), 2, Bytes(3000, 2)}};
      batch.records = {{Table::kJobs, 1, ByteWriter().U64(last + 2).bytes()}};
      const absl::StatusOr<uint64_t> id = (*log)->Write(batch);
      status = id.status();
      if (id.ok() && *id != last + 2) return 2;
      if (id.ok()) last = *id;
    }
    if (status.code() != absl::StatusCode::kResourceExhausted) return 3;
    if (status.message().find((folder / "atoll.db").string()) == absl::string_view::npos) return 4;
    if ((*log)->Head().value().id != last) return 5;
    if (last < 4 || !(*log)->VerifyChain().ok()) return 6;
    head = (*log)->Head().value().hash;
    const auto record = (*log)->Get(Table::kJobs, 1);
    if (!record.ok() || ByteReader(*record).U64() != last) return 7;
  }
  const auto log = OpenEventLog(folder);
  if (!log.ok()) {
    fprintf(stderr, "reopening: %s\n", std::string(log.status().message()).c_str());
    return 8;
  }
  if (!(*log)->VerifyChain().ok()) return 9;
  return (*log)->Head().value().id == last && (*log)->Head().value().hash == head ? 0 : 10;
}

TEST_F(EventLogDiskTest, FullDisk) {
  const int result = OnTinyDisk(folder_.path(), 512, [&] { return FillDisk(Folder()); });
  if (result == kCannotMount) GTEST_SKIP() << "mounting needs root; the file limit is tested alone";
  EXPECT_EQ(result, 0);
}

TEST_F(EventLogDiskTest, FileLimit) {
  EXPECT_EQ(WithFileLimit(300'000, [&] { return FillDisk(Folder()); }), 0);
}

TEST_F(EventLogDiskTest, GoesOnWhenThereIsRoomAgain) {
  const int result = OnTinyDisk(folder_.path(), 512, [&] {
    const fs::path ballast = folder_.path() / "ballast";
    const auto log = OpenEventLog(Folder());
    if (!log.ok() || !(*log)->Append(JobId(1), 1, Bytes(10)).ok()) return 1;
    // Fails when the disk is full, which it should.
    (void)!WriteFileAtomic(ballast, Bytes(200'000)).ok();
    absl::Status status;
    uint64_t last = 0;
    for (int i = 0; i < 1000 && status.ok(); ++i) {
      const auto id = (*log)->Append(JobId(1), 1, Bytes(5000));
      status = id.status();
      if (id.ok()) last = *id;
    }
    if (status.code() != absl::StatusCode::kResourceExhausted) return 2;
    fs::remove(ballast);
    const auto next = (*log)->Append(JobId(1), 1, Bytes(5000));
    if (!next.ok() || *next != last + 1) return 3;
    return (*log)->VerifyChain().ok() ? 0 : 4;
  });
  if (result == kCannotMount) GTEST_SKIP() << "mounting needs root";
  EXPECT_EQ(result, 0);
}

// Twenty writers in a row are killed at random moments. After each, all that was acknowledged is
// there, batches are whole, and the chain verifies.
TEST_F(EventLogDiskTest, KilledWriters) {
  SeededRandom random({.seed = TestSeed(), .label = "log crash"});
  uint64_t acknowledged = 0;
  for (int attempt = 0; attempt < 20; ++attempt) {
    const uint64_t last =
        KillAfter(static_cast<int>(random.Below(60'000)), [&](const auto& acknowledge) {
          const auto log = OpenEventLog(Folder()).value();
          while (true) {
            const uint64_t id = log->Head().value().id;
            Batch batch;
            for (uint64_t i = 1; i <= 3; ++i)
              batch.events.push_back({JobId(i), 1, Payload(id + i)});
            batch.records.push_back({Table::kJobs, 1, ByteWriter().U64(id + 3).bytes()});
            const auto written = log->Write(batch);
            if (!written.ok()) return;
            acknowledge(*written);
          }
        });
    acknowledged = std::max(acknowledged, last);
    const auto log = OpenEventLog(Folder()).value();
    const uint64_t head = log->Head().value().id;
    ASSERT_GE(head, acknowledged) << "attempt " << attempt;
    ASSERT_EQ(head % 3, 0u);
    ASSERT_EQ(log->VerifyChain(), absl::OkStatus());
    if (head > 0) {
      const Bytes record = log->Get(Table::kJobs, 1).value();
      ASSERT_EQ(ByteReader(record).U64(), head);
    }
    for (uint64_t id = 0; id < head;) {
      for (const Event& event : Events(log->ReadAll(id, 500))) {
        ASSERT_EQ(event.id, ++id);
        ASSERT_EQ(event.payload, Payload(id));
      }
    }
  }
  EXPECT_GT(acknowledged, 0u);
}

// Power fails while the log is written: its end is lost or torn. What is left is a beginning of
// what was written.
TEST_F(EventLogDiskTest, ATornWriteAheadLogLeavesAPrefix) {
  SeededRandom random({.seed = TestSeed(), .label = "torn log"});
  Bytes main_file, wal_file;
  {
    const auto log = OpenEventLog(Folder()).value();
    for (uint64_t id = 1; id <= 60; ++id) {
      ASSERT_TRUE(log->Append(JobId(1), 1, Payload(id)).ok());
    }
    main_file = ReadFile(File(), 1 << 24).value();
    wal_file = ReadFile(Wal(), 1 << 24).value();
  }
  uint64_t shortest = 60;
  for (int attempt = 0; attempt < 40; ++attempt) {
    const fs::path folder = folder_.path() / ("torn" + std::to_string(attempt));
    ASSERT_TRUE(MakeFolder(folder).ok());
    Bytes torn(wal_file.begin(), wal_file.begin() + random.Below(wal_file.size()));
    // Half of the time the last bytes are not those that were written.
    if (attempt % 2 == 0 && torn.size() > 100) {
      for (size_t i = torn.size() - 100; i < torn.size(); ++i) {
        torn[i] = static_cast<uint8_t>(random.Next());
      }
    }
    ASSERT_TRUE(WriteFileAtomic(folder / "atoll.db", main_file).ok());
    ASSERT_TRUE(WriteFileAtomic(folder / "atoll.db-wal", torn).ok());
    const auto log = OpenEventLog(folder).value();
    ASSERT_EQ(log->VerifyChain(), absl::OkStatus());
    const uint64_t head = log->Head().value().id;
    ASSERT_LE(head, 60u);
    shortest = std::min(shortest, head);
    uint64_t id = 0;
    for (const Event& event : Events(log->ReadAll(0, 100))) {
      ASSERT_EQ(event.payload, Payload(++id));
    }
    ASSERT_EQ(id, head);
  }
  EXPECT_LT(shortest, 60u);
}

}  // namespace
}  // namespace atl::store

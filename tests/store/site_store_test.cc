#include "federation/store/site_store.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sys/stat.h>

#include "comms/base/crypto/sha256.h"
#include "comms/base/files.h"
#include "comms/base/random.h"
#include "federation/store/event_log.h"
#include "gmock/gmock.h"
#include "tests/store/faults.h"

namespace atl::store {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Bytes Text(std::string_view text) { return Bytes(text.begin(), text.end()); }

RunId RunOf(uint8_t number) {
  RunId run{};
  run[31] = number;
  return run;
}

class SiteStoreTest : public testing::Test {
 protected:
  SiteStoreTest() : folder_(TemporaryFolder::Create("atoll-site-test-").value()) {}
  fs::path Folder() const { return folder_.path() / "site"; }
  TemporaryFolder folder_;
};

TEST_F(SiteStoreTest, Slots) {
  {
    const auto store = SiteStore::Open(Folder()).value();
    EXPECT_EQ(store->GetSlot(RunOf(1), SlotId(1)).status().code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(store->SaveSlot(RunOf(1), SlotId(2), 1, Text("two")), absl::OkStatus());
    EXPECT_EQ(store->SaveSlot(RunOf(1), SlotId(1), 1, Text("one")), absl::OkStatus());
    EXPECT_EQ(store->SaveSlot(RunOf(2), SlotId(1), 5, {}), absl::OkStatus());
    EXPECT_EQ(store->SaveSlot(RunOf(1), SlotId(1), 3, Text("one again")), absl::OkStatus());
    EXPECT_EQ(store->SaveSlot(RunOf(1), SlotId(uint64_t{1} << 63), 3, {}).code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(store->SaveSlot(RunOf(1), SlotId(9), 3, Bytes(kMaxPayloadBytes + 1)).code(),
              absl::StatusCode::kInvalidArgument);
  }
  const auto store = SiteStore::Open(Folder()).value();
  const std::vector<SlotRow> slots = store->Slots(RunOf(1)).value();
  ASSERT_THAT(slots, SizeIs(2));
  EXPECT_EQ(slots[0].slot, SlotId(1));
  EXPECT_EQ(slots[0].state, 3u);
  EXPECT_EQ(slots[0].record, Text("one again"));
  EXPECT_EQ(slots[1].slot, SlotId(2));
  EXPECT_EQ(store->GetSlot(RunOf(2), SlotId(1)).value().state, 5u);
  EXPECT_THAT(store->GetSlot(RunOf(2), SlotId(1)).value().record, IsEmpty());
  EXPECT_THAT(store->Slots(RunOf(3)).value(), IsEmpty());
}

TEST_F(SiteStoreTest, AnErasedSlotIsGoneFromTheFilesAndStaysUsed) {
  const std::string secret = "0123456789-a-share-that-nobody-may-find";
  const auto store = SiteStore::Open(Folder()).value();
  for (uint64_t slot = 1; slot <= 30; ++slot) {
    // Later states replace the first one, in pages that the log has several times.
    for (uint32_t state = 1; state <= 3; ++state) {
      ASSERT_TRUE(store
                      ->SaveSlot(RunOf(1), SlotId(slot), state,
                                 Text(secret + std::string(slot * 100 * state, 'x')))
                      .ok());
    }
  }
  ASSERT_TRUE(FileContains(Folder() / "site.db-wal", secret));
  for (uint64_t slot = 1; slot <= 30; ++slot) {
    EXPECT_EQ(store->EraseSlot(RunOf(1), SlotId(slot), 8), absl::OkStatus());
  }
  for (const auto& entry : fs::directory_iterator(Folder())) {
    EXPECT_FALSE(FileContains(entry.path(), secret)) << entry.path();
  }
  EXPECT_EQ(store->GetSlot(RunOf(1), SlotId(30)).value().state, 8u);
  EXPECT_THAT(store->GetSlot(RunOf(1), SlotId(30)).value().record, IsEmpty());
  const absl::Status again = store->SaveSlot(RunOf(1), SlotId(30), 1, Text("again"));
  EXPECT_EQ(again.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(again.message()), HasSubstr("slot 30 was erased"));
  EXPECT_EQ(store->GetSlot(RunOf(1), SlotId(30)).value().state, 8u);
  EXPECT_EQ(store->EraseSlot(RunOf(1), SlotId(99), 8), absl::OkStatus());
  EXPECT_EQ(store->GetSlot(RunOf(1), SlotId(99)).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SiteStoreTest, RunsAndSettings) {
  RunRow row;
  row.run = RunOf(1);
  row.job = JobId(4);
  row.round = RoundId(2);
  row.first_model[0] = 1;
  row.model[0] = 2;
  {
    const auto store = SiteStore::Open(Folder()).value();
    EXPECT_EQ(store->GetRun(RunOf(1)).status().code(), absl::StatusCode::kNotFound);
    ASSERT_TRUE(store->SaveRun(row).ok());
    row.round = RoundId(3);
    row.model[0] = 3;
    ASSERT_TRUE(store->SaveRun(row).ok());
    EXPECT_EQ(store->GetSetting("key").status().code(), absl::StatusCode::kNotFound);
    ASSERT_TRUE(store->PutSetting("key", Text("a")).ok());
    ASSERT_TRUE(store->PutSetting("key", Text("b")).ok());
    EXPECT_EQ(store->PutSetting("", Text("b")).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(store->PutSetting(std::string(257, 'k'), {}).code(),
              absl::StatusCode::kInvalidArgument);
  }
  const auto store = SiteStore::Open(Folder()).value();
  EXPECT_THAT(store->Runs().value(), SizeIs(1));
  const RunRow found = store->GetRun(RunOf(1)).value();
  EXPECT_EQ(found.run, row.run);
  EXPECT_EQ(found.job, row.job);
  EXPECT_EQ(found.round, row.round);
  EXPECT_EQ(found.first_model, row.first_model);
  EXPECT_EQ(found.model, row.model);
  EXPECT_EQ(store->GetSetting("key").value(), Text("b"));
}

TEST_F(SiteStoreTest, Cohorts) {
  const Digest data = Sha256::Of(Text("data")), other_data = Sha256::Of(Text("other data"));
  const Digest model = Sha256::Of(Text("model")), other_model = Sha256::Of(Text("other model"));
  CohortRow first;
  first.data = data;
  first.model = model;
  first.survivors = {SiteId(1), SiteId(300), SiteId(70000)};
  first.run = RunOf(1);
  first.slot = SlotId(7);
  first.signature[63] = 9;
  CohortRow smaller = first, later = first, elsewhere = first;
  smaller.survivors = {};
  later.model = other_model;
  elsewhere.data = other_data;
  const auto is = [](const CohortRow& row, const CohortRow& wanted) {
    return row.data == wanted.data && row.model == wanted.model &&
           row.survivors == wanted.survivors && row.run == wanted.run && row.slot == wanted.slot &&
           row.signature == wanted.signature;
  };
  {
    const auto store = SiteStore::Open(Folder()).value();
    EXPECT_THAT(store->Cohorts(data, std::nullopt).value(), IsEmpty());
    for (const CohortRow& row : {first, smaller, later, elsewhere}) {
      EXPECT_EQ(store->KeepCohort(row), absl::OkStatus());
    }
    // The same set again, in another slot of another run: the first row stays.
    CohortRow again = first;
    again.run = RunOf(2);
    again.slot = SlotId(8);
    again.signature[0] = 1;
    EXPECT_EQ(store->KeepCohort(again), absl::OkStatus());
    CohortRow bad = first;
    bad.slot = SlotId(uint64_t{1} << 63);
    EXPECT_EQ(store->KeepCohort(bad).code(), absl::StatusCode::kInvalidArgument);
    bad = first;
    bad.survivors.assign(kMaxCohort + 1, SiteId(1));
    EXPECT_EQ(store->KeepCohort(bad).code(), absl::StatusCode::kInvalidArgument);
  }
  {
    const auto store = SiteStore::Open(Folder()).value();
    std::vector<CohortRow> rows = store->Cohorts(data, std::nullopt).value();
    ASSERT_THAT(rows, SizeIs(3));  // in the order in which they were signed
    EXPECT_TRUE(is(rows[0], first));
    EXPECT_TRUE(is(rows[1], smaller));
    EXPECT_TRUE(is(rows[2], later));
    rows = store->Cohorts(data, model).value();
    ASSERT_THAT(rows, SizeIs(2));
    EXPECT_TRUE(is(rows[1], smaller));
    rows = store->Cohorts(data, other_model).value();
    ASSERT_THAT(rows, SizeIs(1));
    EXPECT_TRUE(is(rows[0], later));
    rows = store->Cohorts(other_data, std::nullopt).value();
    ASSERT_THAT(rows, SizeIs(1));
    EXPECT_TRUE(is(rows[0], elsewhere));
    EXPECT_THAT(store->Cohorts(other_data, other_model).value(), IsEmpty());
  }
  // Rows that are not as they were written are no cohorts.
  for (const char* damage : {"survivors = x'0102'", "signature = x'00'", "model = x'00'"}) {
    {
      SQLite::Database database((Folder() / "site.db").string(), SQLite::OPEN_READWRITE);
      database.exec("CREATE TABLE IF NOT EXISTS kept AS SELECT rowid AS row, * FROM cohorts");
      database.exec(
          "UPDATE cohorts SET (model, survivors, signature) = (SELECT model, survivors, signature "
          "FROM kept WHERE row = cohorts.rowid)");
      database.exec(absl::StrCat("UPDATE cohorts SET ", damage, " WHERE rowid = 1"));
    }
    const auto store = SiteStore::Open(Folder()).value();
    EXPECT_EQ(store->Cohorts(data, std::nullopt).status().code(), absl::StatusCode::kDataLoss)
        << damage;
  }
}

TEST_F(SiteStoreTest, AnotherVersionIsRefused) {
  ASSERT_TRUE(SiteStore::Open(Folder()).ok());
  const std::pair<int, const char*> versions[] = {{1, "new folder"}, {3, "use a newer one"}};
  for (const auto& [version, what_to_do] : versions) {
    SQLite::Database((Folder() / "site.db").string(), SQLite::OPEN_READWRITE)
        .exec(absl::StrCat("PRAGMA user_version = ", version));
    const absl::Status status = SiteStore::Open(Folder()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("site.db"), HasSubstr(absl::StrCat("has version ", version)),
                      HasSubstr(what_to_do)));
  }
}

TEST_F(SiteStoreTest, PrivateAndForOneAgent) {
  const auto store = SiteStore::Open(Folder()).value();
  struct stat info;
  ASSERT_EQ(stat(Folder().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  const absl::Status second = SiteStore::Open(Folder()).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.message()), HasSubstr("another site agent uses"));
}

TEST_F(SiteStoreTest, FullDisk) {
  const auto fill = [&] {
    const auto store = SiteStore::Open(Folder());
    if (!store.ok()) return 1;
    absl::Status status;
    uint32_t state = 0;
    for (int i = 0; i < 1000 && status.ok(); ++i) {
      status = (*store)->SaveSlot(RunOf(1), SlotId(1), state + 1, Bytes(9000, 1));
      if (status.ok()) ++state;
      status.Update((*store)->SaveSlot(RunOf(1), SlotId(i + 2), 1, Bytes(9000, 1)));
    }
    if (status.code() != absl::StatusCode::kResourceExhausted) return 2;
    return (*store)->GetSlot(RunOf(1), SlotId(1)).value().state == state ? 0 : 3;
  };
  EXPECT_EQ(WithFileLimit(300'000, fill), 0);
  const int result = OnTinyDisk(folder_.path(), 512, fill);
  EXPECT_TRUE(result == 0 || result == kCannotMount) << result;
}

// An agent is killed at random moments; the slot's state never goes back behind what was
// acknowledged.
TEST_F(SiteStoreTest, KilledAgents) {
  SeededRandom random({.seed = TestSeed(), .label = "site crash"});
  uint64_t acknowledged = 0;
  for (int attempt = 0; attempt < 15; ++attempt) {
    const uint64_t last = KillAfter(static_cast<int>(random.Below(50'000)), [&](const auto& ack) {
      const auto store = SiteStore::Open(Folder()).value();
      const auto row = store->GetSlot(RunOf(1), SlotId(1));
      for (uint32_t state = row.ok() ? row->state : 0;;) {
        ++state;
        if (!store->SaveSlot(RunOf(1), SlotId(1), state, Bytes(state % 5000, state & 0xff)).ok()) {
          return;
        }
        ack(state);
      }
    });
    acknowledged = std::max(acknowledged, last);
    const auto store = SiteStore::Open(Folder()).value();
    const auto row = store->GetSlot(RunOf(1), SlotId(1));
    if (acknowledged == 0 && !row.ok()) continue;
    ASSERT_EQ(row.status(), absl::OkStatus());
    ASSERT_GE(row->state, acknowledged) << "attempt " << attempt;
    ASSERT_EQ(row->record, Bytes(row->state % 5000, row->state & 0xff));
  }
  EXPECT_GT(acknowledged, 0u);
}

}  // namespace
}  // namespace atl::store

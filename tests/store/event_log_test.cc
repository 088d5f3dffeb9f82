// What every EventLog does, on disk and in memory.
#include "federation/store/event_log.h"

#include <set>
#include <thread>

#include "comms/base/crypto/sha256.h"
#include "comms/base/files.h"
#include "federation/store/memory_event_log.h"
#include "gmock/gmock.h"

namespace atl::store {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Bytes Text(std::string_view text) { return Bytes(text.begin(), text.end()); }

std::vector<uint64_t> Ids(const std::vector<Event>& events) {
  std::vector<uint64_t> ids;
  for (const Event& event : events) ids.push_back(event.id);
  return ids;
}

class EventLogTest : public testing::TestWithParam<bool> {
 protected:
  EventLogTest() : folder_(TemporaryFolder::Create("atoll-log-test-").value()) {
    if (GetParam()) {
      log_ = OpenEventLog(folder_.path()).value();
    } else {
      log_ = std::make_unique<MemoryEventLog>();
    }
  }
  TemporaryFolder folder_;
  std::unique_ptr<EventLog> log_;
};

TEST_P(EventLogTest, AppendsAndReadsBack) {
  EXPECT_EQ(log_->Head().value().id, 0u);
  EXPECT_EQ(log_->Head().value().hash, Digest{});
  EXPECT_THAT(log_->ReadAll(0, 10).value(), IsEmpty());
  EXPECT_EQ(log_->VerifyChain(), absl::OkStatus());
  EXPECT_EQ(log_->Append(JobId(1), 5, Text("a")).value(), 1u);
  EXPECT_EQ(log_->Append(JobId(2), 6, {}).value(), 2u);
  EXPECT_EQ(log_->Append(JobId(1), 0xffffffffu, Text("c")).value(), 3u);
  const std::vector<Event> of_one = log_->Read(JobId(1), 0, 10).value();
  ASSERT_THAT(Ids(of_one), ElementsAre(1, 3));
  EXPECT_EQ(of_one[0].payload, Text("a"));
  EXPECT_EQ(of_one[0].kind, 5u);
  EXPECT_EQ(of_one[1].kind, 0xffffffffu);
  EXPECT_EQ(of_one[1].job, JobId(1));
  EXPECT_THAT(Ids(log_->Read(JobId(1), 1, 10).value()), ElementsAre(3));
  EXPECT_THAT(Ids(log_->Read(JobId(1), 3, 10).value()), IsEmpty());
  EXPECT_THAT(Ids(log_->Read(JobId(1), ~uint64_t{0}, 10).value()), IsEmpty());
  EXPECT_THAT(Ids(log_->Read(JobId(1), 0, 1).value()), ElementsAre(1));
  EXPECT_THAT(Ids(log_->Read(JobId(7), 0, 10).value()), IsEmpty());
  EXPECT_THAT(Ids(log_->ReadAll(1, 10).value()), ElementsAre(2, 3));
  EXPECT_THAT(log_->ReadAll(1, 10).value()[0].payload, IsEmpty());
  EXPECT_EQ(log_->VerifyChain(), absl::OkStatus());
}

// The formula is written out here once more.
TEST_P(EventLogTest, TheChainIsTheDocumentedOne) {
  ASSERT_TRUE(log_->Append(JobId(0x0102030405060708), 0x0a0b0c0d, Text("xy")).ok());
  ASSERT_TRUE(log_->Append(JobId(1), 2, Text("z")).ok());
  Bytes first(32, 0);
  for (uint8_t byte : {1, 0, 0, 0, 0, 0, 0, 0}) first.push_back(byte);
  for (uint8_t byte : {8, 7, 6, 5, 4, 3, 2, 1}) first.push_back(byte);
  for (uint8_t byte : {0x0d, 0x0c, 0x0b, 0x0a, int{'x'}, int{'y'}}) first.push_back(byte);
  const Digest hash1 = Sha256::Of(first);
  Bytes second(hash1.begin(), hash1.end());
  for (uint8_t byte : {2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0}) {
    second.push_back(byte);
  }
  second.push_back('z');
  const std::vector<Event> events = log_->ReadAll(0, 10).value();
  ASSERT_THAT(events, SizeIs(2));
  EXPECT_EQ(events[0].hash, hash1);
  EXPECT_EQ(events[1].hash, Sha256::Of(second));
  EXPECT_EQ(log_->Head().value().hash, events[1].hash);
}

TEST_P(EventLogTest, ABatchIsOneThing) {
  Batch batch;
  batch.events = {{JobId(1), 1, Text("a")}, {JobId(1), 2, Text("b")}};
  batch.records = {{Table::kJobs, 1, Text("running")}, {Table::kSites, 1, Text("site")}};
  batch.secrets = {{JobId(1), SlotId(2), SiteId(3), Text("secret")}};
  EXPECT_EQ(log_->Write(batch).value(), 2u);
  EXPECT_EQ(log_->Get(Table::kJobs, 1).value(), Text("running"));
  EXPECT_EQ(log_->Get(Table::kSites, 1).value(), Text("site"));
  EXPECT_THAT(log_->Secrets(JobId(1), SlotId(2)).value(), SizeIs(1));
  EXPECT_EQ(log_->Write({}).value(), 2u);

  // One bad part, and nothing of it is there.
  batch.records.push_back({Table::kJobs, uint64_t{1} << 63, Text("bad")});
  batch.records[0].value = Text("other");
  EXPECT_EQ(log_->Write(batch).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(log_->Head().value().id, 2u);
  EXPECT_EQ(log_->Get(Table::kJobs, 1).value(), Text("running"));
}

TEST_P(EventLogTest, Records) {
  EXPECT_EQ(log_->Get(Table::kJobs, 7).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(log_->List(Table::kJobs).value(), IsEmpty());
  EXPECT_EQ(log_->Put(Table::kJobs, 9, Text("nine")), absl::OkStatus());
  EXPECT_EQ(log_->Put(Table::kJobs, 7, Text("seven")), absl::OkStatus());
  EXPECT_EQ(log_->Put(Table::kJobs, 9, Text("nine again")), absl::OkStatus());
  EXPECT_EQ(log_->Put(Table::kSites, 9, {}), absl::OkStatus());
  const std::vector<Record> jobs = log_->List(Table::kJobs).value();
  ASSERT_THAT(jobs, SizeIs(2));
  EXPECT_EQ(jobs[0].id, 7u);
  EXPECT_EQ(jobs[0].value, Text("seven"));
  EXPECT_EQ(jobs[1].value, Text("nine again"));
  EXPECT_THAT(log_->Get(Table::kSites, 9).value(), IsEmpty());
  EXPECT_EQ(log_->Get(Table::kSites, 7).status().code(), absl::StatusCode::kNotFound);
}

TEST_P(EventLogTest, SecretsOfASlot) {
  Batch batch;
  batch.secrets = {{JobId(1), SlotId(2), SiteId(9), Text("b")},
                   {JobId(1), SlotId(2), SiteId(4), Text("a")},
                   {JobId(1), SlotId(3), SiteId(4), Text("c")},
                   {JobId(2), SlotId(2), SiteId(4), Text("d")}};
  ASSERT_TRUE(log_->Write(batch).ok());
  EXPECT_THAT(log_->SlotsWithSecrets().value(),
              ElementsAre(std::pair(JobId(1), SlotId(2)), std::pair(JobId(1), SlotId(3)),
                          std::pair(JobId(2), SlotId(2))));
  const std::vector<RevealedSecret> secrets = log_->Secrets(JobId(1), SlotId(2)).value();
  ASSERT_THAT(secrets, SizeIs(2));
  EXPECT_EQ(secrets[0].site, SiteId(4));
  EXPECT_EQ(secrets[0].value, Text("a"));
  EXPECT_EQ(secrets[1].site, SiteId(9));
  EXPECT_EQ(log_->EraseSecrets(JobId(1), SlotId(2)), absl::OkStatus());
  EXPECT_EQ(log_->EraseSecrets(JobId(1), SlotId(2)), absl::OkStatus());
  EXPECT_THAT(log_->Secrets(JobId(1), SlotId(2)).value(), IsEmpty());
  EXPECT_THAT(log_->Secrets(JobId(1), SlotId(3)).value(), SizeIs(1));
  EXPECT_THAT(log_->Secrets(JobId(2), SlotId(2)).value(), SizeIs(1));
}

TEST_P(EventLogTest, BoundsOfWhatIsWrittenAndRead) {
  const JobId too_high(uint64_t{1} << 63);
  EXPECT_EQ(log_->Append(too_high, 1, {}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(log_->Append(JobId(1), 1, Bytes(kMaxPayloadBytes + 1)).status().code(),
            absl::StatusCode::kInvalidArgument);
  const Bytes half(kMaxBytesRead / 2 - 10);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(log_->Append(JobId(1), 1, half).ok());
  ASSERT_TRUE(log_->Append(JobId(1), 1, Bytes(100)).ok());
  ASSERT_TRUE(log_->Append(JobId(1), 1, Bytes(kMaxPayloadBytes)).ok());
  // The third would be too much; the fourth is, but comes alone.
  EXPECT_THAT(Ids(log_->ReadAll(0, 10).value()), ElementsAre(1, 2));
  EXPECT_THAT(Ids(log_->Read(JobId(1), 2, 10).value()), ElementsAre(3));
  EXPECT_THAT(Ids(log_->Read(JobId(1), 3, 10).value()), ElementsAre(4));
}

TEST_P(EventLogTest, ThreadsWriteAndRead) {
  constexpr int kThreads = 4, kEach = 40;
  std::vector<std::vector<uint64_t>> ids(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        ids[t].push_back(log_->Append(JobId(t + 1), i, Text("event")).value());
        const std::vector<Event> own = log_->Read(JobId(t + 1), 0, 1000).value();
        EXPECT_EQ(own.size(), static_cast<size_t>(i + 1));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<uint64_t> all;
  for (const auto& some : ids) all.insert(some.begin(), some.end());
  EXPECT_THAT(all, SizeIs(kThreads * kEach));
  EXPECT_EQ(*all.rbegin(), static_cast<uint64_t>(kThreads * kEach));
  EXPECT_EQ(log_->VerifyChain(), absl::OkStatus());
}

INSTANTIATE_TEST_SUITE_P(All, EventLogTest, testing::Bool(), [](const auto& info) {
  return std::string(info.param ? "OnDisk" : "InMemory");
});

TEST(MemoryEventLog, WritesFailWhenTold) {
  MemoryEventLog log;
  ASSERT_TRUE(log.Append(JobId(1), 1, {}).ok());
  log.FailWrites(absl::ResourceExhaustedError("full"));
  EXPECT_EQ(log.Append(JobId(1), 1, {}).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(log.EraseSecrets(JobId(1), SlotId(1)).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(log.ReadAll(0, 10).value(), SizeIs(1));
  log.FailWrites(absl::OkStatus());
  EXPECT_EQ(log.Append(JobId(1), 1, {}).value(), 2u);
}

}  // namespace
}  // namespace atl::store

#include "federation/store/vector_store.h"

#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <thread>

#include "comms/base/files.h"
#include "comms/base/random.h"
#include "gmock/gmock.h"
#include "tests/store/faults.h"

namespace atl::store {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const VectorId kId{JobId(3), RoundId(2), SlotId(5), SiteId(7)};
const std::vector<uint32_t> kSizes = {1000, 1000, 1, 500};

Bytes Chunk(uint32_t index, uint32_t size, uint8_t salt = 0) {
  Bytes bytes(size);
  for (uint32_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(index * 31 + i * 7 + salt);
  return bytes;
}

Digest RootOf(const std::vector<uint32_t>& sizes) {
  std::vector<Digest> digests;
  for (uint32_t i = 0; i < sizes.size(); ++i) digests.push_back(Sha256::Of(Chunk(i, sizes[i])));
  return MerkleRoot(digests);
}

class VectorStoreTest : public testing::Test {
 protected:
  VectorStoreTest() : folder_(TemporaryFolder::Create("atoll-vector-test-").value()) {}
  fs::path Folder() const { return folder_.path() / "vectors"; }
  fs::path File() const { return Folder() / "3/2/5-7"; }
  static absl::Status WriteAll(StagedVector& vector) {
    absl::Status status;
    for (uint32_t i = 0; i < vector.chunk_count(); ++i) {
      status.Update(vector.WriteChunk(i, Chunk(i, vector.chunk_bytes(i))));
    }
    return status;
  }
  TemporaryFolder folder_;
};

TEST(EvenChunks, CoverAllBytes) {
  EXPECT_THAT(EvenChunks(0, 10), IsEmpty());
  EXPECT_THAT(EvenChunks(9, 10), ElementsAre(9));
  EXPECT_THAT(EvenChunks(10, 10), ElementsAre(10));
  EXPECT_THAT(EvenChunks(25, 10), ElementsAre(10, 10, 5));
}

TEST_F(VectorStoreTest, AnyOrder) {
  const auto store = VectorStore::Open(Folder()).value();
  const auto vector = store->OpenVector(kId, kSizes).value();
  EXPECT_THAT(vector->StoredChunks(), IsEmpty());
  for (uint32_t i : {3, 0, 2}) ASSERT_TRUE(vector->WriteChunk(i, Chunk(i, kSizes[i])).ok());
  EXPECT_THAT(vector->StoredChunks(), ElementsAre(0, 2, 3));
  EXPECT_FALSE(vector->HasAll());
  const absl::Status early = vector->Complete(RootOf(kSizes));
  EXPECT_EQ(early.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(early.message()), HasSubstr("3 of 4"));
  EXPECT_EQ(vector->ReadChunk(1).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(vector->ReadChunk(4).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(vector->ChunkDigests().ok());
  ASSERT_TRUE(vector->WriteChunk(1, Chunk(1, 1000)).ok());
  EXPECT_TRUE(vector->HasAll());
  EXPECT_EQ(vector->Complete(RootOf(kSizes)), absl::OkStatus());
  EXPECT_EQ(MerkleRoot(vector->ChunkDigests().value()), RootOf(kSizes));
  EXPECT_EQ(vector->Complete(Sha256::Of({})).code(), absl::StatusCode::kInvalidArgument);
  for (uint32_t i = 0; i < 4; ++i) EXPECT_EQ(vector->ReadChunk(i).value(), Chunk(i, kSizes[i]));
}

TEST_F(VectorStoreTest, ShowsChunksWhereTheyLie) {
  const auto store = VectorStore::Open(Folder()).value();
  const auto vector = store->OpenVector(kId, kSizes).value();
  ASSERT_TRUE(vector->WriteChunk(3, Chunk(3, 500)).ok());
  ASSERT_TRUE(vector->WriteChunk(1, Chunk(1, 1000)).ok());
  const auto view = [&](uint32_t index) {
    const FileView chunk = vector->ViewChunk(index).value();
    return Bytes(chunk.bytes().begin(), chunk.bytes().end());
  };
  for (int i = 0; i < 3; ++i) {  // also once it was let go of
    EXPECT_EQ(view(3), Chunk(3, 500));
    EXPECT_EQ(view(1), Chunk(1, 1000));
  }
  {
    const FileView one = vector->ViewChunk(3).value();
    FileView other = vector->ViewChunk(1).value();
    other = vector->ViewChunk(3).value();
    EXPECT_TRUE(std::ranges::equal(one.bytes(), other.bytes()));
  }
  EXPECT_EQ(vector->ViewChunk(0).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(vector->ViewChunk(4).status().code(), absl::StatusCode::kNotFound);
  fs::resize_file(File(), fs::file_size(File()) - 100);
  EXPECT_EQ(vector->ViewChunk(3).status().code(), absl::StatusCode::kDataLoss);
  fs::resize_file(File(), 0);  // nothing to bring in
  EXPECT_EQ(vector->ViewChunk(1).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(VectorStoreTest, AFileThatCannotBeMappedIsRead) {
  const fs::path path = folder_.path() / "file";
  const Bytes bytes = Chunk(7, 10'000);
  ASSERT_TRUE(WriteFileAtomic(path, bytes).ok());
  const OwnedFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  for (const bool mapped : {true, false}) {
    const rlimit none = {0, RLIM_INFINITY};
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
    if (!mapped) {
      ASSERT_EQ(setrlimit(RLIMIT_AS, &none), 0);  // malloc has room already
    }
    absl::StatusOr<FileView> view = FileView::Of(fd.get(), 4'001, 5'999, path);
    if (!mapped) {
      ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
    }
    const FileView moved = *std::move(view);
    EXPECT_TRUE(std::ranges::equal(moved.bytes(), ByteView(bytes).subspan(4'001))) << mapped;
    EXPECT_EQ(FileView::Of(fd.get(), 9'000, 1'001, path).status().code(),
              absl::StatusCode::kDataLoss);
  }
}

TEST_F(VectorStoreTest, TheSameChunkAgainMustBeTheSame) {
  const auto store = VectorStore::Open(Folder()).value();
  const auto vector = store->OpenVector(kId, kSizes).value();
  ASSERT_TRUE(vector->WriteChunk(1, Chunk(1, 1000)).ok());
  EXPECT_EQ(vector->WriteChunk(1, Chunk(1, 1000)), absl::OkStatus());
  const absl::Status other = vector->WriteChunk(1, Chunk(1, 1000, 1));
  EXPECT_EQ(other.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(other.message()), HasSubstr("other bytes"));
  EXPECT_EQ(vector->ReadChunk(1).value(), Chunk(1, 1000));
  EXPECT_EQ(vector->WriteChunk(1, Chunk(1, 999)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(vector->WriteChunk(4, Chunk(4, 1000)).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(VectorStoreTest, SurvivesARestart) {
  {
    const auto store = VectorStore::Open(Folder()).value();
    const auto vector = store->OpenVector(kId, kSizes).value();
    for (uint32_t i : {0, 3}) ASSERT_TRUE(vector->WriteChunk(i, Chunk(i, kSizes[i])).ok());
  }
  const auto store = VectorStore::Open(Folder()).value();
  const auto vector = store->OpenVector(kId, kSizes).value();
  EXPECT_THAT(vector->StoredChunks(), ElementsAre(0, 3));
  EXPECT_EQ(vector->WriteChunk(0, Chunk(0, 1000, 1)).code(), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(WriteAll(*vector).ok());
  EXPECT_EQ(vector->Complete(RootOf(kSizes)), absl::OkStatus());
}

TEST_F(VectorStoreTest, OtherSizesAreRefused) {
  const std::vector<uint32_t> other = {1000, 1000, 500, 1};
  {
    const auto store = VectorStore::Open(Folder()).value();
    const auto vector = store->OpenVector(kId, kSizes).value();
    EXPECT_EQ(store->OpenVector(kId, other).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(store->OpenVector(kId, kSizes).value(), vector);  // the same object
  }
  const auto store = VectorStore::Open(Folder()).value();
  EXPECT_EQ(store->OpenVector(kId, other).status().code(), absl::StatusCode::kInvalidArgument);
  for (const std::vector<uint32_t>& bad : {std::vector<uint32_t>{}, {0}, {1, kMaxChunkBytes + 1}}) {
    EXPECT_EQ(store->OpenVector({JobId(9), RoundId(1), SlotId(1), SiteId(1)}, bad).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(VectorStoreTest, OneProcessAtATime) {
  const auto store = VectorStore::Open(Folder()).value();
  const absl::Status second = VectorStore::Open(Folder()).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.message()), HasSubstr(Folder().string()));
}

TEST_F(VectorStoreTest, RemovesSlotRoundAndJob) {
  const auto store = VectorStore::Open(Folder()).value();
  const auto exists = [&](uint64_t job, uint32_t round, uint64_t slot, uint32_t site) {
    return fs::exists(Folder() / std::to_string(job) / std::to_string(round) /
                      (std::to_string(slot) + "-" + std::to_string(site)));
  };
  for (const VectorId& id : std::vector<VectorId>{{JobId(1), RoundId(1), SlotId(1), SiteId(1)},
                                                  {JobId(1), RoundId(1), SlotId(1), SiteId(2)},
                                                  {JobId(1), RoundId(1), SlotId(12), SiteId(1)},
                                                  {JobId(1), RoundId(2), SlotId(3), SiteId(1)},
                                                  {JobId(2), RoundId(1), SlotId(1), SiteId(1)}}) {
    ASSERT_TRUE(store->OpenVector(id, kSizes).ok());
  }
  const auto held = store->OpenVector({JobId(1), RoundId(1), SlotId(1), SiteId(1)}, kSizes).value();
  ASSERT_TRUE(held->WriteChunk(2, Chunk(2, 1)).ok());
  EXPECT_EQ(store->RemoveSlot(JobId(1), RoundId(1), SlotId(1)), absl::OkStatus());
  EXPECT_FALSE(exists(1, 1, 1, 1));
  EXPECT_FALSE(exists(1, 1, 1, 2));
  EXPECT_TRUE(exists(1, 1, 12, 1));
  // Still good for whoever holds it, and a new one under its id is another.
  EXPECT_EQ(held->ReadChunk(2).value(), Chunk(2, 1));
  const auto anew = store->OpenVector({JobId(1), RoundId(1), SlotId(1), SiteId(1)}, kSizes).value();
  EXPECT_THAT(anew->StoredChunks(), IsEmpty());

  EXPECT_EQ(store->RemoveRound(JobId(1), RoundId(1)), absl::OkStatus());
  EXPECT_FALSE(exists(1, 1, 1, 1));
  EXPECT_FALSE(exists(1, 1, 12, 1));
  EXPECT_TRUE(exists(1, 2, 3, 1));
  EXPECT_EQ(store->RemoveJob(JobId(1)), absl::OkStatus());
  EXPECT_FALSE(exists(1, 2, 3, 1));
  EXPECT_TRUE(exists(2, 1, 1, 1));
  EXPECT_EQ(store->RemoveJob(JobId(1)), absl::OkStatus());
  EXPECT_EQ(store->RemoveSlot(JobId(9), RoundId(1), SlotId(1)), absl::OkStatus());
}

// What a crash tore, or a disk changed, is asked for again and never summed.
TEST_F(VectorStoreTest, DamagedChunksCountAsMissing) {
  {
    const auto store = VectorStore::Open(Folder()).value();
    ASSERT_TRUE(WriteAll(*store->OpenVector(kId, kSizes).value()).ok());
  }
  const uint64_t data = fs::file_size(File()) - 2501;
  FlipBit(File(), data + 1500);         // chunk 1's bytes
  FlipBit(File(), data - 4 * 32 + 70);  // chunk 2's digest
  const auto store = VectorStore::Open(Folder()).value();
  const auto vector = store->OpenVector(kId, kSizes).value();
  EXPECT_THAT(vector->StoredChunks(), ElementsAre(0, 3));
  ASSERT_TRUE(WriteAll(*vector).ok());
  EXPECT_EQ(vector->Complete(RootOf(kSizes)), absl::OkStatus());
  // While it is in use nothing rereads it, but a read notices.
  FlipBit(File(), data + 10);
  EXPECT_EQ(vector->ReadChunk(0).status().code(), absl::StatusCode::kDataLoss);
}

// What this process has checked once is not read and hashed again when it is opened again...
TEST_F(VectorStoreTest, IsCheckedOnceInAProcess) {
  const auto store = VectorStore::Open(Folder()).value();
  ASSERT_TRUE(WriteAll(*store->OpenVector(kId, kSizes).value()).ok());
  FlipBit(File(), fs::file_size(File()) - 2501 + 10);
  EXPECT_TRUE(store->OpenVector(kId, kSizes).value()->HasAll());
  // ...but a read that checks still notices, and one that was removed is another.
  {
    const auto vector = store->OpenVector(kId, kSizes).value();
    EXPECT_EQ(vector->ReadChunk(0).status().code(), absl::StatusCode::kDataLoss);
  }
  ASSERT_TRUE(store->RemoveSlot(kId.job, kId.round, kId.slot).ok());
  EXPECT_THAT(store->OpenVector(kId, kSizes).value()->StoredChunks(), IsEmpty());
}

TEST_F(VectorStoreTest, IsCheckedAgainAfterAWriteThatFailed) {
  const int failed = InChild([&] {
    const auto store = VectorStore::Open(Folder()).value();
    {
      const auto vector = store->OpenVector(kId, kSizes).value();
      if (!vector->WriteChunk(3, Chunk(3, 500)).ok()) return 1;
      signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{.rlim_cur = 100, .rlim_max = RLIM_INFINITY};
      setrlimit(RLIMIT_FSIZE, &limit);
      if (vector->WriteChunk(1, Chunk(1, 1000)).ok()) return 2;
    }
    const rlimit limit{.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    setrlimit(RLIMIT_FSIZE, &limit);
    FlipBit(File(), fs::file_size(File()) - 1);
    return store->OpenVector(kId, kSizes).value()->StoredChunks().empty() ? 0 : 3;
  });
  EXPECT_EQ(failed, 0);
}

TEST_F(VectorStoreTest, ATruncatedFileLosesItsLastChunksOnly) {
  {
    const auto store = VectorStore::Open(Folder()).value();
    ASSERT_TRUE(WriteAll(*store->OpenVector(kId, kSizes).value()).ok());
  }
  fs::resize_file(File(), fs::file_size(File()) - 600);
  const auto store = VectorStore::Open(Folder()).value();
  const auto vector = store->OpenVector(kId, kSizes).value();
  EXPECT_THAT(vector->StoredChunks(), ElementsAre(0));
  ASSERT_TRUE(WriteAll(*vector).ok());
  EXPECT_EQ(vector->Complete(RootOf(kSizes)), absl::OkStatus());
}

TEST_F(VectorStoreTest, AFileThatIsNoVectorIsDataLoss) {
  ASSERT_TRUE(MakeFolder(File().parent_path()).ok());
  ASSERT_TRUE(WriteFileAtomic(File(), Bytes(5000, 'x')).ok());
  const auto store = VectorStore::Open(Folder()).value();
  EXPECT_EQ(store->OpenVector(kId, kSizes).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(VectorStoreTest, ThreadsWriteOneVector) {
  const auto store = VectorStore::Open(Folder()).value();
  const std::vector<uint32_t> sizes = EvenChunks(64 * 1000 + 1, 1000);
  std::vector<std::thread> threads;
  std::vector<absl::Status> status(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const auto vector = store->OpenVector(kId, sizes).value();
      // Each chunk is written by two of them, from both ends.
      for (uint32_t i = 0; i < sizes.size(); ++i) {
        const uint32_t index = t < 2 ? i : static_cast<uint32_t>(sizes.size()) - 1 - i;
        if (index % 2 != static_cast<uint32_t>(t % 2)) continue;
        status[t].Update(vector->WriteChunk(index, Chunk(index, sizes[index])));
        status[t].Update(vector->ReadChunk(index).status());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& s : status) EXPECT_EQ(s, absl::OkStatus());
  EXPECT_EQ(store->OpenVector(kId, sizes).value()->Complete(RootOf(sizes)), absl::OkStatus());
}

int FillDisk(const fs::path& folder) {
  const auto store = VectorStore::Open(folder);
  if (!store.ok()) return 1;
  const absl::Status status = (*store)->OpenVector(kId, EvenChunks(300'000, 10'000)).status();
  if (status.code() != absl::StatusCode::kResourceExhausted) return 2;
  if (status.message().find((folder / "3/2/5-7").string()) == absl::string_view::npos) return 3;
  if (fs::exists(folder / "3/2/5-7")) return 4;
  // What failed has given its room back.
  const auto small = (*store)->OpenVector(kId, EvenChunks(60'000, 10'000));
  if (!small.ok()) return 5;
  for (uint32_t i = 0; i < 6; ++i) {
    if (!(*small)->WriteChunk(i, Chunk(i, 10'000)).ok()) return 6;
  }
  return (*small)->Complete(RootOf(EvenChunks(60'000, 10'000))).ok() ? 0 : 7;
}

TEST_F(VectorStoreTest, AFullDiskShowsBeforeTheUpload) {
  const int result = OnTinyDisk(folder_.path(), 128, [&] { return FillDisk(Folder()); });
  if (result == kCannotMount) GTEST_SKIP() << "mounting needs root; the file limit is tested alone";
  EXPECT_EQ(result, 0);
}

TEST_F(VectorStoreTest, FileLimit) {
  EXPECT_EQ(WithFileLimit(100'000, [&] { return FillDisk(Folder()); }), 0);
}

// A writer is killed at random moments, ten times over one vector; what it acknowledged is there.
TEST_F(VectorStoreTest, KilledWriters) {
  SeededRandom random({.seed = TestSeed(), .label = "vector crash"});
  const std::vector<uint32_t> sizes = EvenChunks(400 * 3000, 3000);
  std::vector<bool> acknowledged(sizes.size());
  for (int attempt = 0; attempt < 10; ++attempt) {
    const uint32_t start = static_cast<uint32_t>(random.Below(sizes.size()));
    const uint64_t count = KillAfter(static_cast<int>(random.Below(40'000)), [&](const auto& ack) {
      const auto store = VectorStore::Open(Folder()).value();
      const auto vector = store->OpenVector(kId, sizes).value();
      for (uint32_t i = 0; i < sizes.size(); ++i) {
        const uint32_t index = (start + i) % sizes.size();
        if (!vector->WriteChunk(index, Chunk(index, sizes[index])).ok()) return;
        ack(i + 1);
      }
    });
    for (uint64_t i = 0; i < count; ++i) acknowledged[(start + i) % sizes.size()] = true;
    const auto store = VectorStore::Open(Folder()).value();
    const auto vector = store->OpenVector(kId, sizes).value();
    std::vector<bool> stored(sizes.size());
    for (uint32_t index : vector->StoredChunks()) {
      stored[index] = true;
      ASSERT_EQ(vector->ReadChunk(index).value(), Chunk(index, sizes[index]));
    }
    for (size_t i = 0; i < sizes.size(); ++i) {
      ASSERT_TRUE(stored[i] || !acknowledged[i]) << "chunk " << i << ", attempt " << attempt;
    }
  }
  const auto store = VectorStore::Open(Folder()).value();
  const auto vector = store->OpenVector(kId, sizes).value();
  ASSERT_TRUE(WriteAll(*vector).ok());
  EXPECT_EQ(vector->Complete(RootOf(sizes)), absl::OkStatus());
}

}  // namespace
}  // namespace atl::store

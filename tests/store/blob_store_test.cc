#include "federation/store/blob_store.h"

#include <fstream>

#include "comms/base/files.h"
#include "comms/base/random.h"
#include "gmock/gmock.h"
#include "tests/store/faults.h"

namespace atl::store {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

Bytes Pattern(size_t size, uint8_t first) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(first + i * 7 + i / 251);
  return bytes;
}

class BlobStoreTest : public testing::Test {
 protected:
  BlobStoreTest() : folder_(TemporaryFolder::Create("atoll-blob-test-").value()) {}
  fs::path Folder() const { return folder_.path() / "blobs"; }
  fs::path FileOf(const Digest& root) const {
    return Folder() / Hex(root).substr(0, 2) / Hex(root).substr(2);
  }
  size_t Files() const {
    size_t count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(Folder())) {
      count += entry.is_regular_file();
    }
    return count;
  }
  static Digest Store(const BlobStore& store, const std::vector<Bytes>& chunks) {
    BlobWriter writer = store.NewBlob().value();
    for (const Bytes& chunk : chunks) EXPECT_EQ(writer.AddChunk(chunk), absl::OkStatus());
    return writer.Commit().value();
  }
  TemporaryFolder folder_;
};

TEST_F(BlobStoreTest, ReadsBackWhatWasWritten) {
  const std::vector<Bytes> chunks = {Pattern(1 << 20, 1), Pattern(1, 2), Pattern(1 << 20, 3),
                                     Pattern(12345, 4)};
  std::vector<Digest> digests;
  uint64_t bytes = 0;
  for (const Bytes& chunk : chunks) {
    digests.push_back(Sha256::Of(chunk));
    bytes += chunk.size();
  }
  Digest root;
  {
    const BlobStore store = BlobStore::Open(Folder()).value();
    root = Store(store, chunks);
    EXPECT_EQ(root, MerkleRoot(digests));
  }
  const BlobStore store = BlobStore::Open(Folder()).value();
  EXPECT_TRUE(store.Has(root));
  const BlobReader reader = store.OpenBlob(root).value();
  EXPECT_EQ(reader.chunk_count(), chunks.size());
  EXPECT_EQ(reader.chunk_digests(), digests);
  EXPECT_EQ(reader.bytes(), bytes);
  for (uint32_t i = 0; i < chunks.size(); ++i) {
    EXPECT_EQ(reader.chunk_bytes(i), chunks[i].size());
    EXPECT_EQ(reader.ReadChunk(i).value(), chunks[i]) << i;
  }
  EXPECT_EQ(reader.ReadChunk(4).status().code(), absl::StatusCode::kOutOfRange);
}

TEST_F(BlobStoreTest, UnknownAndRemoved) {
  const BlobStore store = BlobStore::Open(Folder()).value();
  const Digest root = Store(store, {Pattern(100, 1)});
  const Digest other = Sha256::Of(AsBytes("other"));
  EXPECT_FALSE(store.Has(other));
  EXPECT_EQ(store.OpenBlob(other).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(store.OpenBlob(other).status().message()), HasSubstr(Hex(other)));
  EXPECT_EQ(store.Remove(other), absl::OkStatus());
  const BlobReader reader = store.OpenBlob(root).value();
  EXPECT_EQ(store.Remove(root), absl::OkStatus());
  EXPECT_FALSE(store.Has(root));
  // Whoever reads it goes on.
  EXPECT_EQ(reader.ReadChunk(0).value(), Pattern(100, 1));
}

TEST_F(BlobStoreTest, AWriterThatIsDroppedLeavesNothing) {
  const BlobStore store = BlobStore::Open(Folder()).value();
  {
    BlobWriter writer = store.NewBlob().value();
    ASSERT_TRUE(writer.AddChunk(Pattern(1000, 1)).ok());
    EXPECT_EQ(Files(), 1u);
  }
  EXPECT_EQ(Files(), 0u);
}

TEST_F(BlobStoreTest, BadChunksAreRefused) {
  const BlobStore store = BlobStore::Open(Folder()).value();
  BlobWriter writer = store.NewBlob().value();
  EXPECT_EQ(writer.Commit().status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(writer.AddChunk({}).code(), absl::StatusCode::kInvalidArgument);
  const absl::Status large = writer.AddChunk(Bytes(kMaxChunkBytes + 1));
  EXPECT_EQ(large.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(large.message()), HasSubstr("4194305"));
  EXPECT_EQ(writer.AddChunk(Bytes(kMaxChunkBytes)), absl::OkStatus());
  ASSERT_TRUE(writer.Commit().ok());
  EXPECT_EQ(writer.AddChunk(Pattern(1, 1)).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(writer.Commit().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(BlobStoreTest, TwoWritersOfTheSameBlob) {
  const BlobStore store = BlobStore::Open(Folder()).value();
  BlobWriter a = store.NewBlob().value(), b = store.NewBlob().value();
  for (BlobWriter* writer : {&a, &b, &a, &b}) ASSERT_TRUE(writer->AddChunk(Pattern(500, 9)).ok());
  const Digest root = a.Commit().value();
  const BlobReader reader = store.OpenBlob(root).value();
  EXPECT_EQ(b.Commit().value(), root);
  EXPECT_EQ(Files(), 1u);
  EXPECT_EQ(reader.ReadChunk(1).value(), Pattern(500, 9));
  EXPECT_EQ(store.OpenBlob(root).value().ReadChunk(0).value(), Pattern(500, 9));
}

TEST_F(BlobStoreTest, SweepsWhatDeadWritersLeftAndNothingElse) {
  const BlobStore store = BlobStore::Open(Folder()).value();
  BlobWriter living = store.NewBlob().value();
  ASSERT_TRUE(living.AddChunk(Pattern(10, 1)).ok());
  ASSERT_EQ(InChild([&] {
              // Neither destructor nor commit: as if killed.
              auto* dead = new BlobWriter(BlobStore::Open(Folder()).value().NewBlob().value());
              return dead->AddChunk(Pattern(100, 2)).ok() ? 0 : 1;
            }),
            0);
  EXPECT_EQ(Files(), 2u);
  ASSERT_TRUE(BlobStore::Open(Folder()).ok());
  EXPECT_EQ(Files(), 1u);
  const Digest root = living.Commit().value();
  EXPECT_EQ(BlobStore::Open(Folder()).value().OpenBlob(root).value().ReadChunk(0).value(),
            Pattern(10, 1));
}

// Wherever a bit flips behind the magic, opening or reading says DATA_LOSS.
TEST_F(BlobStoreTest, EveryDamagedByteIsNoticed) {
  const BlobStore store = BlobStore::Open(Folder()).value();
  const std::vector<Bytes> chunks = {Pattern(20, 1), Pattern(30, 2), Pattern(7, 3)};
  const Digest root = Store(store, chunks);
  const uint64_t size = fs::file_size(FileOf(root));
  constexpr uint64_t kMagicBytes = 8;
  ASSERT_EQ(size, kMagicBytes + 57 + 3 * 36 + 12);
  for (uint64_t at = kMagicBytes; at < size; ++at) {
    FlipBit(FileOf(root), at);
    const absl::StatusOr<BlobReader> reader = store.OpenBlob(root);
    absl::Status status = reader.status();
    for (uint32_t i = 0; status.ok() && i < reader->chunk_count(); ++i) {
      status = reader->ReadChunk(i).status();
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << "byte " << at << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(FileOf(root).string()));
    FlipBit(FileOf(root), at);
  }
  EXPECT_EQ(store.OpenBlob(root).value().ReadChunk(2).value(), chunks[2]);
}

TEST_F(BlobStoreTest, EveryTruncationIsNoticed) {
  const BlobStore store = BlobStore::Open(Folder()).value();
  const Digest root = Store(store, {Pattern(20, 1), Pattern(30, 2)});
  for (uint64_t size = fs::file_size(FileOf(root)); size-- > 0;) {
    fs::resize_file(FileOf(root), size);
    EXPECT_EQ(store.OpenBlob(root).status().code(), absl::StatusCode::kDataLoss) << size;
  }
}

TEST_F(BlobStoreTest, AnotherBlobsFileIsNoticed) {
  const BlobStore store = BlobStore::Open(Folder()).value();
  const Digest a = Store(store, {Pattern(20, 1)}), b = Store(store, {Pattern(20, 2)});
  fs::copy_file(FileOf(b), FileOf(a), fs::copy_options::overwrite_existing);
  EXPECT_EQ(store.OpenBlob(a).status().code(), absl::StatusCode::kDataLoss);
}

// Writes 300 KB where there is less; then 50 KB, for which there is room again.
int FillDisk(const fs::path& folder) {
  const absl::StatusOr<BlobStore> store = BlobStore::Open(folder);
  if (!store.ok()) return 1;
  {
    absl::StatusOr<BlobWriter> writer = store->NewBlob();
    if (!writer.ok()) return 2;
    absl::Status status;
    for (int i = 0; i < 30 && status.ok(); ++i) status = writer->AddChunk(Bytes(10'000, 7));
    if (status.code() != absl::StatusCode::kResourceExhausted) return 3;
    if (status.message().find(folder.string()) == absl::string_view::npos) return 4;
    // A blob that lost a chunk is never committed.
    if (writer->AddChunk(Bytes(1, 7)).ok() || writer->Commit().ok()) return 5;
  }
  absl::StatusOr<BlobWriter> writer = store->NewBlob();
  if (!writer.ok() || !writer->AddChunk(Bytes(50'000, 8)).ok()) return 6;
  const absl::StatusOr<Digest> root = writer->Commit();
  if (!root.ok()) return 7;
  size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    files += entry.is_regular_file();
  }
  if (files != 1) return 8;
  return store->OpenBlob(*root).value().ReadChunk(0).value() == Bytes(50'000, 8) ? 0 : 9;
}

TEST_F(BlobStoreTest, FullDisk) {
  const int result = OnTinyDisk(folder_.path(), 128, [&] { return FillDisk(Folder()); });
  if (result == kCannotMount) GTEST_SKIP() << "mounting needs root; the file limit is tested alone";
  EXPECT_EQ(result, 0);
}

TEST_F(BlobStoreTest, FileLimit) {
  EXPECT_EQ(WithFileLimit(100'000, [&] { return FillDisk(Folder()); }), 0);
}

}  // namespace
}  // namespace atl::store

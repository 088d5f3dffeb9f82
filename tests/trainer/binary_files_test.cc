// CIFAR-10's binary files and token shards.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comms/base/files.h"
#include "trainer/data/cifar.h"
#include "trainer/data/token_shards.h"

namespace atl::trainer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Bytes Record(uint8_t label, uint8_t pixel) {
  Bytes out(1 + kCifarPixels, pixel);
  out[0] = label;
  return out;
}

TEST(CifarTest, ReadsRecords) {
  Bytes file = Record(3, 30);
  const Bytes second = Record(9, 90);
  file.insert(file.end(), second.begin(), second.end());
  CifarImages images;
  ASSERT_TRUE(ParseCifar(file, images).ok());
  EXPECT_THAT(images.labels, ElementsAre(3, 9));
  ASSERT_EQ(images.pixels.size(), 2 * kCifarPixels);
  EXPECT_EQ(images.pixels[kCifarPixels - 1], 30);
  EXPECT_EQ(images.pixels[kCifarPixels], 90);
}

TEST(CifarTest, RefusesWhatIsNone) {
  CifarImages images;
  EXPECT_THAT(ParseCifar({}, images).message(), HasSubstr("0 bytes are not one or more records"));
  Bytes cut = Record(1, 1);
  cut.pop_back();
  EXPECT_THAT(ParseCifar(cut, images).message(), HasSubstr("cut off?"));
  EXPECT_EQ(ParseCifar(Record(10, 1), images).message(), "byte 0: label 10 must be < 10");
}

TEST(CifarTest, FindsTheFilesOfASplit) {
  const auto folder = *TemporaryFolder::Create("atoll-cifar");
  const auto inner = folder.path() / "cifar-10-batches-bin";
  ASSERT_TRUE(MakeFolder(inner).ok());
  for (uint8_t i = 1; i <= 4; ++i) {
    const std::string name = "data_batch_" + std::to_string(i) + ".bin";
    ASSERT_TRUE(WriteFileAtomic(inner / name, Record(i, i)).ok());
  }
  ASSERT_TRUE(WriteFileAtomic(inner / "test_batch.bin", Record(0, 0)).ok());
  const absl::Status missing = ReadCifar(folder.path(), true).status();
  EXPECT_TRUE(absl::IsNotFound(missing)) << missing;
  EXPECT_THAT(std::string(missing.message()), HasSubstr((inner / "data_batch_5.bin").string()));
  ASSERT_TRUE(WriteFileAtomic(inner / "data_batch_5.bin", Record(5, 5)).ok());
  EXPECT_THAT(ReadCifar(folder.path(), true)->labels, ElementsAre(1, 2, 3, 4, 5));
  EXPECT_THAT(ReadCifar(inner, false)->labels, ElementsAre(0));
  ASSERT_TRUE(WriteFileAtomic(inner / "test_batch.bin", Record(11, 0)).ok());
  EXPECT_THAT(std::string(ReadCifar(inner, false).status().message()),
              HasSubstr("test_batch.bin: byte 0: label 11"));
}

class TokensTest : public ::testing::Test {
 protected:
  static constexpr ShardHeader kHeader{.vocabulary = 300, .padding_id = 0, .mask_id = 3};

  // Writes texts of these sizes; ids count up from 0.
  void Write(const std::string& prefix, const std::vector<size_t>& sizes, uint64_t shard_tokens,
             ShardHeader header = kHeader) {
    TokenShardWriter writer(folder_.path(), prefix, header, shard_tokens);
    int32_t id = 0;
    for (size_t size : sizes) {
      std::vector<int32_t> text(size);
      for (int32_t& value : text) value = id++;
      ASSERT_TRUE(writer.Add(text).ok());
    }
    ASSERT_TRUE(writer.Finish().ok());
  }
  absl::Status OpenBytes(const Bytes& bytes) {
    const auto path = folder_.path() / "train-000.tokens";
    EXPECT_TRUE(WriteFileAtomic(path, bytes).ok());
    const absl::Status status = TokenShards::Open(folder_.path(), "train", 4, 0).status();
    if (!status.ok()) {
      EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr(path.string()));
    }
    return status;
  }
  TemporaryFolder folder_ = *TemporaryFolder::Create("atoll-tokens");
};

TEST_F(TokensTest, ExamplesAreBlocksOfEachFile) {
  Write("train", {6, 5, 3}, 11);  // files of 11 and of 3 ids
  const auto shards = TokenShards::Open(folder_.path(), "train", 4, 0);
  ASSERT_TRUE(shards.ok()) << shards.status();
  EXPECT_EQ(shards->header().vocabulary, 300u);
  EXPECT_EQ(shards->header().id_bytes, 2u);
  EXPECT_EQ(shards->header().mask_id, 3);
  ASSERT_EQ(shards->size(), 4u);
  EXPECT_THAT(*shards->Read(0, false), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(*shards->Read(1, true), ElementsAre(4, 5, 6, 7, 8));
  EXPECT_THAT(*shards->Read(2, true), ElementsAre(8, 9, 10));
  EXPECT_THAT(*shards->Read(3, true), ElementsAre(11, 12, 13));
  EXPECT_EQ(TokenShards::Open(folder_.path(), "train", 4, 2)->size(), 2u);
  // An id alone at a file's end teaches nothing.
  EXPECT_EQ(TokenShards::Open(folder_.path(), "train", 10, 0)->size(), 2u);
}

TEST_F(TokensTest, LargeVocabulariesTakeFourBytes) {
  ShardHeader header = kHeader;
  header.vocabulary = 1 << 20;
  TokenShardWriter writer(folder_.path(), "train", header, 100);
  ASSERT_TRUE(writer.Add(std::vector<int32_t>{70000, (1 << 20) - 1}).ok());
  ASSERT_TRUE(writer.Finish().ok());
  const auto shards = TokenShards::Open(folder_.path(), "train", 4, 0);
  ASSERT_TRUE(shards.ok()) << shards.status();
  EXPECT_EQ(shards->header().id_bytes, 4u);
  EXPECT_THAT(*shards->Read(0, false), ElementsAre(70000, (1 << 20) - 1));
}

TEST_F(TokensTest, SaysWhatIsMissing) {
  const absl::Status status = TokenShards::Open(folder_.path() / "x", "train", 4, 0).status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("train-*.tokens"));
}

TEST_F(TokensTest, AFileCutOffAnywhereIsRefused) {
  ShardHeader header = kHeader;
  header.count = 3;
  Bytes bytes = EncodeShardHeader(header);
  ASSERT_EQ(bytes.size(), kShardHeaderBytes);
  bytes.insert(bytes.end(), 6, 1);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(OpenBytes(Bytes(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size))).ok())
        << size;
  }
  EXPECT_TRUE(OpenBytes(bytes).ok());
  bytes.push_back(0);
  EXPECT_FALSE(OpenBytes(bytes).ok());
}

TEST_F(TokensTest, RefusesWrongHeaders) {
  auto error = [&](auto change) {
    ShardHeader header = kHeader;
    header.count = 2;
    change(header);
    Bytes bytes = EncodeShardHeader(header);
    bytes.insert(bytes.end(), 4, 0);
    return std::string(OpenBytes(bytes).message());
  };
  EXPECT_THAT(error([](ShardHeader& h) { h.id_bytes = 3; }), HasSubstr("ids of 3 bytes"));
  EXPECT_THAT(error([](ShardHeader& h) { h.vocabulary = 0; }), HasSubstr("a vocabulary of 0"));
  EXPECT_THAT(error([](ShardHeader& h) { h.vocabulary = 65537; }), HasSubstr("of 65537"));
  EXPECT_THAT(error([](ShardHeader& h) { h.mask_id = 300; }), HasSubstr("special id 300"));
  EXPECT_THAT(error([](ShardHeader& h) { h.begin_id = -2; }), HasSubstr("special id -2"));
  EXPECT_THAT(error([](ShardHeader& h) { h.count = 3; }), HasSubstr("promises 3 ids"));
  EXPECT_THAT(error([](ShardHeader& h) { h.count = UINT64_MAX / 2 + 2; }), HasSubstr("promises"));
  Bytes bytes = EncodeShardHeader(kHeader);
  bytes[0] = 'X';
  EXPECT_THAT(std::string(OpenBytes(bytes).message()), HasSubstr("does not start with ATOLTOK1"));
  bytes = EncodeShardHeader(kHeader);
  bytes[63] = 1;
  EXPECT_THAT(std::string(OpenBytes(bytes).message()), HasSubstr("are not zero"));
}

TEST_F(TokensTest, FilesOfASetMustAgreeAndIdsBeInTheVocabulary) {
  Write("train", {4}, 100);
  ShardHeader other = kHeader;
  other.vocabulary = 299;
  TokenShardWriter writer(folder_.path(), "train-x", other, 100);
  ASSERT_TRUE(writer.Add(std::vector<int32_t>{1, 299}).ok());
  ASSERT_TRUE(writer.Finish().ok());
  const absl::Status status = TokenShards::Open(folder_.path(), "train", 4, 0).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("another vocabulary"));
  const auto one = TokenShards::Open(folder_.path(), "train-x", 4, 0);
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_THAT(std::string(one->Read(0, false).status().message()),
              HasSubstr("train-x-000.tokens: id 299 at place 1 must be < 299"));
}

}  // namespace
}  // namespace atl::trainer

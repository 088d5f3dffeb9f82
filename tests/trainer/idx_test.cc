// IDX files: good ones, and every way in which they are not.
#include "trainer/data/idx.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "comms/base/files.h"
#include "trainer/data/image_set.h"

namespace atl::trainer {
namespace {

using ::testing::HasSubstr;

Bytes Idx(std::vector<uint32_t> shape, Bytes values, uint8_t type = 8) {
  Bytes out = {0, 0, type, static_cast<uint8_t>(shape.size())};
  for (uint32_t size : shape) {
    for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<uint8_t>(size >> shift));
  }
  out.insert(out.end(), values.begin(), values.end());
  return out;
}

Bytes Gzip(const Bytes& plain) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  Bytes out(plain.size() + 100);
  stream.next_in = const_cast<Bytef*>(plain.data());
  stream.avail_in = static_cast<uInt>(plain.size());
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(out.size() - stream.avail_out);
  deflateEnd(&stream);
  return out;
}

class IdxTest : public ::testing::Test {
 protected:
  std::filesystem::path Write(const std::string& name, const Bytes& bytes) {
    EXPECT_TRUE(WriteFileAtomic(folder_.path() / name, bytes).ok());
    return folder_.path() / name;
  }
  // The error of reading these bytes; it names the file.
  std::string Error(const Bytes& bytes) {
    auto path = Write("bad", bytes);
    absl::Status status = ReadIdx(path).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path.string()));
    return std::string(status.message());
  }
  TemporaryFolder folder_ = *TemporaryFolder::Create("atoll-idx");
  const Bytes good_ = Idx({2, 3}, {1, 2, 3, 4, 5, 6});
};

TEST_F(IdxTest, ReadsPlainAndGzip) {
  for (const Bytes& bytes : {good_, Gzip(good_)}) {
    auto array = ReadIdx(Write("good", bytes));
    ASSERT_TRUE(array.ok()) << array.status();
    EXPECT_EQ(array->shape, (std::vector<uint32_t>{2, 3}));
    EXPECT_EQ(array->values, (Bytes{1, 2, 3, 4, 5, 6}));
  }
}

TEST_F(IdxTest, AFileCutOffAnywhereIsRefused) {
  for (const Bytes& bytes : {good_, Gzip(good_)}) {
    for (size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_FALSE(
          Error(Bytes(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size))).empty())
          << size;
    }
    Bytes longer = bytes;
    longer.push_back(0);
    EXPECT_FALSE(Error(longer).empty());
  }
}

TEST_F(IdxTest, NamesWhatIsWrong) {
  EXPECT_THAT(Error({1, 2, 3, 4, 5}), HasSubstr("starts with 01020304"));
  EXPECT_THAT(Error(Idx({1}, {1}, 0x0d)), HasSubstr("type 0x0d"));
  EXPECT_THAT(Error(Idx({}, {})), HasSubstr("0 dimensions"));
  EXPECT_THAT(Error(Idx({1, 1, 1, 1, 1}, {1})), HasSubstr("5 dimensions"));
  EXPECT_THAT(Error(Idx({2, 0}, {})), HasSubstr("dimension 1 is 0"));
  EXPECT_THAT(Error(Idx({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {})),
              HasSubstr("promises more than"));
  EXPECT_THAT(Error(Idx({2, 3}, {1, 2, 3, 4, 5})),
              HasSubstr("promises 6 bytes, but 5 follow (cut off?)"));
  Bytes corrupt = Gzip(good_);
  corrupt[corrupt.size() - 8] ^= 1;  // its checksum
  EXPECT_THAT(Error(corrupt), HasSubstr("corrupt gzip data"));
  EXPECT_TRUE(absl::IsNotFound(ReadIdx(folder_.path() / "none").status()));
}

class ImageSetTest : public IdxTest {
 protected:
  void WriteSet(uint32_t images, uint32_t labels, uint32_t side = 28, uint8_t label = 9) {
    Write("train-images-idx3-ubyte.gz",
          Gzip(Idx({images, side, side}, Bytes(images * side * side, 128))));
    Write("train-labels-idx1-ubyte.gz", Gzip(Idx({labels}, Bytes(labels, label))));
    data_.folder = folder_.path().string();
  }
  std::string LoadError() {
    return std::string(LoadImageSet(data_, Split::kTrain).status().message());
  }
  recipes::Data data_;
};

TEST_F(ImageSetTest, ReadsAndLimits) {
  WriteSet(5, 5);
  auto set = LoadImageSet(data_, Split::kTrain);
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(set->count, 5u);
  EXPECT_EQ(set->pixels.size(), 5u * 784);
  EXPECT_FLOAT_EQ(set->normalisation.mean[0], 0.2860f);
  EXPECT_FLOAT_EQ(set->normalisation.stddev[0], 0.3530f);
  data_.limit = 2;
  set = LoadImageSet(data_, Split::kTrain);
  EXPECT_EQ(set->count, 2u);
  EXPECT_EQ(set->labels.size(), 2u);
  EXPECT_EQ(set->pixels.size(), 2u * 784);
  data_.limit = 100;
  EXPECT_EQ(LoadImageSet(data_, Split::kTrain)->count, 5u);
}

TEST_F(ImageSetTest, SaysWhatToDoWhenItIsNotThere) {
  data_.folder = (folder_.path() / "nowhere").string();
  EXPECT_THAT(LoadError(), HasSubstr("apt install dataset-fashion-mnist"));
  EXPECT_THAT(LoadError(), HasSubstr("data.folder"));
  EXPECT_THAT(LoadError(), HasSubstr(data_.folder));
  data_.dataset = recipes::DatasetKind::kCsv;
  EXPECT_THAT(LoadError(), HasSubstr("data.dataset: csv has no images"));
}

TEST_F(ImageSetTest, FilesThatDoNotFitTogether) {
  WriteSet(5, 4);
  EXPECT_THAT(LoadError(), HasSubstr("5 images, but 4 labels"));
  WriteSet(5, 5, 27);
  EXPECT_THAT(LoadError(), HasSubstr("images of 1 x 27 x 27, not of 1 x 28 x 28"));
  WriteSet(5, 5, 28, 10);
  EXPECT_THAT(LoadError(), HasSubstr("label 10 of image 0 must be < 10"));
}

TEST_F(ImageSetTest, AnyFolderOfIdxFiles) {
  data_.dataset = recipes::DatasetKind::kIdx;
  data_.folder = folder_.path().string();
  EXPECT_THAT(LoadError(), HasSubstr("data set idx: no file"));
  Write("train-images-idx4-ubyte", Idx({2, 3, 2, 1}, Bytes{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
  Write("train-labels-idx1-ubyte.gz", Gzip(Idx({2}, {4, 0})));
  Write("test-images-idx4-ubyte.gz", Gzip(Idx({1, 3, 2, 1}, Bytes(6, 7))));
  Write("test-labels-idx1-ubyte", Idx({1}, {2}));
  EXPECT_EQ(*ShapeOf(data_), (ImageShape{3, 2, 1}));
  const auto train = LoadImageSet(data_, Split::kTrain);
  ASSERT_TRUE(train.ok()) << train.status();
  EXPECT_EQ(train->count, 2u);
  EXPECT_EQ(train->channels, 3u);
  EXPECT_EQ(train->classes, 5u);
  EXPECT_EQ(train->pixels[6], 7);
  EXPECT_EQ(train->normalisation, (Normalisation{{0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}}));
  EXPECT_EQ(LoadImageSet(data_, Split::kTest)->labels, (std::vector<uint32_t>{2}));
  // The shape is the training split's, whatever the other holds.
  Write("test-images-idx4-ubyte.gz", Gzip(Idx({1, 1, 2, 1}, Bytes(2, 7))));
  EXPECT_THAT(std::string(LoadImageSet(data_, Split::kTest).status().message()),
              HasSubstr("images of 1 x 2 x 1, not of 3 x 2 x 1"));
  Write("train-images-idx4-ubyte", Idx({2, 3}, {1, 2, 3, 4, 5, 6}));
  EXPECT_THAT(LoadError(), HasSubstr("images have 3 or 4 dimensions, not 2"));
  Write("train-images-idx4-ubyte", Idx({1, 65, 1, 1}, Bytes(65, 1)));
  EXPECT_THAT(LoadError(), HasSubstr("at most 64 x 4096 x 4096"));
}

TEST_F(ImageSetTest, AHeaderIsReadWithoutTheRest) {
  const Bytes large = Idx({1000, 28, 28}, Bytes(1000 * 784, 5));
  for (const Bytes& bytes : {large, Gzip(large)}) {
    const auto cut = Write("cut", Bytes(bytes.begin(), bytes.begin() + 200));
    EXPECT_EQ(*ReadIdxShape(cut), (std::vector<uint32_t>{1000, 28, 28}));
    EXPECT_FALSE(ReadIdx(cut).ok());
  }
  EXPECT_TRUE(absl::IsInvalidArgument(ReadIdxShape(Write("bad", {0, 0, 8})).status()));
  EXPECT_TRUE(absl::IsNotFound(ReadIdxShape(folder_.path() / "none").status()));
}

TEST_F(ImageSetTest, Cifar) {
  data_.dataset = recipes::DatasetKind::kCifar10;
  data_.folder = folder_.path().string();
  Bytes record(1 + 3 * 32 * 32, 7);
  for (int i = 1; i <= 5; ++i) Write("data_batch_" + std::to_string(i) + ".bin", record);
  data_.limit = 3;
  const auto set = LoadImageSet(data_, Split::kTrain);
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(set->count, 3u);
  EXPECT_EQ(set->pixels.size(), 3u * 3072);
  EXPECT_EQ(set->labels, (std::vector<uint32_t>{7, 7, 7}));
  EXPECT_EQ(set->normalisation.mean.size(), 3u);
  EXPECT_EQ(*ShapeOf(data_), (ImageShape{3, 32, 32}));
}

}  // namespace
}  // namespace atl::trainer

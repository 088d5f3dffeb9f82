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
  EXPECT_THAT(LoadError(), HasSubstr("not of 28 by 28"));
  WriteSet(5, 5, 28, 10);
  EXPECT_THAT(LoadError(), HasSubstr("label 10 of image 0 must be < 10"));
}

}  // namespace
}  // namespace atl::trainer

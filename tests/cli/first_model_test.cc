// A model file comes from another program: whatever is in it, reading where its parameters stand
// gives an error or a range inside the file.

#include <fstream>

#include "comms/base/files.h"
#include "comms/base/random.h"
#include "federation/cli/embedded.h"
#include "gmock/gmock.h"

namespace atl::cli {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

class FirstModelTest : public testing::Test {
 protected:
  FirstModelTest() : folder_(TemporaryFolder::Create("atoll-first-model-test-").value()) {}

  absl::StatusOr<FirstModel> Read(const Bytes& file) {
    std::ofstream(folder_.path() / "model.safetensors", std::ios::binary)
        .write(reinterpret_cast<const char*>(file.data()),
               static_cast<std::streamsize>(file.size()));
    return ReadFirstModel(folder_.path());
  }
  static Bytes File(uint64_t header_length, std::string_view header, size_t data_bytes) {
    return ByteWriter().U64(header_length).Raw(AsBytes(header)).Raw(Bytes(data_bytes, 7)).bytes();
  }

  TemporaryFolder folder_;
};

TEST_F(FirstModelTest, FindsTheParametersBehindTheHeader) {
  const std::string header = R"({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}})";
  auto model = Read(File(header.size(), header, 12));
  ASSERT_EQ(model.status(), absl::OkStatus());
  EXPECT_EQ(model->data_offset, 8 + header.size());
  EXPECT_EQ(model->data_bytes, 12u);
  EXPECT_EQ(model->file, folder_.path() / "model.safetensors");
  EXPECT_EQ(model->config, folder_.path() / "config.json");
}

TEST_F(FirstModelTest, RefusesFilesWithoutParameters) {
  for (const Bytes& file : {Bytes{}, Bytes(7, 0), Bytes(8, 0), File(2, "{}", 0), File(3, "{}", 0),
                            File(100, "{}", 4)}) {
    auto model = Read(file);
    EXPECT_EQ(model.status().code(), StatusCode::kDataLoss) << file.size() << " bytes";
    EXPECT_THAT(std::string(model.status().message()), HasSubstr("model.safetensors"));
  }
}

TEST_F(FirstModelTest, RefusesHeaderLengthsThatOverflow) {
  for (uint64_t length :
       {UINT64_MAX, UINT64_MAX - 7, UINT64_MAX - 8, uint64_t{1} << 63, uint64_t{100'000'001}}) {
    EXPECT_EQ(Read(File(length, "{}", 64)).status().code(), StatusCode::kDataLoss) << length;
  }
}

TEST_F(FirstModelTest, RefusesDataThatAreNotFloat32) {
  for (size_t bytes : {1, 2, 3, 5, 4098}) {
    auto model = Read(File(2, "{}", bytes));
    EXPECT_EQ(model.status().code(), StatusCode::kDataLoss) << bytes;
    EXPECT_THAT(std::string(model.status().message()), HasSubstr("not float32"));
  }
}

TEST_F(FirstModelTest, RandomFilesNeverGiveARangeOutsideTheFile) {
  SeededRandom random({.seed = 20261122, .label = "first model test"});
  for (int i = 0; i < 500; ++i) {
    Bytes file(random.Below(64));
    for (uint8_t& byte : file) byte = static_cast<uint8_t>(random.Below(256));
    if (file.size() >= 8 && random.Below(2) == 0) std::fill(file.begin() + 1, file.begin() + 8, 0);
    auto model = Read(file);
    if (!model.ok()) continue;
    EXPECT_EQ(model->data_offset + model->data_bytes, file.size()) << "case " << i;
    EXPECT_GE(model->data_offset, 8u) << "case " << i;
    EXPECT_GT(model->data_bytes, 0u) << "case " << i;
  }
}

TEST_F(FirstModelTest, NamesWhatIsNotThereOrNoFile) {
  EXPECT_EQ(ReadFirstModel(folder_.path() / "nowhere").status().code(), StatusCode::kNotFound);
  ASSERT_EQ(MakeFolder(folder_.path() / "model.safetensors"), absl::OkStatus());
  EXPECT_FALSE(ReadFirstModel(folder_.path()).ok());
}

// The other end of a trainer: a program in its place.
class FinishTest : public FirstModelTest {
 protected:
  std::filesystem::path Program(const std::string& script) {
    std::filesystem::path path = folder_.path() / "trainer.sh";
    const std::string text = "#!/bin/sh\n" + script + "\n";
    EXPECT_EQ(WriteFileAtomic(path, AsBytes(text), 0755), absl::OkStatus());
    return path;
  }
};

TEST_F(FinishTest, GivesTheTrainersLastWords) {
  auto folder = folder_.path() / "init";
  auto process = StartFirstModel(
      Program("echo loading; echo 'recipe.yaml:3: no such model' >&2; exit 2"), "r", folder);
  ASSERT_EQ(process.status(), absl::OkStatus());
  auto model = FinishFirstModel(*process, folder, [] { return false; });
  EXPECT_EQ(model.status().message(), "atoll-trainer init: recipe.yaml:3: no such model");
}

TEST_F(FinishTest, ReadsWhatTheTrainerMade) {
  auto folder = folder_.path() / "init";
  auto process = StartFirstModel(
      Program(
          R"([ "$1 $2 $3" = "init r --out" ] && printf '\002\0\0\0\0\0\0\0{}abcd' > "$4/model.safetensors")"),
      "r", folder);
  ASSERT_EQ(process.status(), absl::OkStatus());
  auto model = FinishFirstModel(*process, folder, [] { return false; });
  ASSERT_EQ(model.status(), absl::OkStatus());
  EXPECT_EQ(model->data_offset, 10u);
  EXPECT_EQ(model->data_bytes, 4u);
}

TEST_F(FinishTest, StopsWhenTold) {
  auto folder = folder_.path() / "init";
  auto process = StartFirstModel(Program("exec sleep 600"), "r", folder);
  ASSERT_EQ(process.status(), absl::OkStatus());
  EXPECT_EQ(FinishFirstModel(*process, folder, [] { return true; }).status().code(),
            StatusCode::kCancelled);
}

}  // namespace
}  // namespace atl::cli

// Model files: safetensors there and back, hostile headers, config.json; and the shapes behind
// them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "comms/base/files.h"
#include "nlohmann/json.hpp"
#include "trainer/export/model_config.h"
#include "trainer/export/safetensors.h"

namespace atl::trainer {
namespace {

using ::testing::HasSubstr;

Bytes File(const std::string& header, size_t data_bytes) {
  ByteWriter out;
  out.Sized(header).Raw(Bytes(data_bytes, 0));
  return std::move(out).Take();
}

std::string Error(const std::string& header, size_t data_bytes = 8) {
  auto parsed = ParseSafetensors(File(header, data_bytes));
  EXPECT_TRUE(absl::IsInvalidArgument(parsed.status())) << header;
  return std::string(parsed.status().message());
}

std::string Tensor(const std::string& name, const std::string& shape, uint64_t begin, uint64_t end,
                   const std::string& dtype = "F32") {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(end) + "]}";
}

TEST(SafetensorsTest, ThereAndBackAndTheDataIsTheFlatBuffer) {
  TemporaryFolder folder = *TemporaryFolder::Create("atoll-export");
  const std::vector<TensorInfo> tensors = {
      {"a.weight", {2, 3}, 0, 6}, {"a.bias", {2}, 6, 2}, {"one", {}, 8, 1}};
  std::vector<float> values = {1, -2, 3.5f, 4, 5, 6, 1e-30f, 8, 9};
  const auto path = folder.path() / "model.safetensors";
  ASSERT_TRUE(WriteSafetensors(path, tensors, values).ok());
  auto read = ReadSafetensors(path);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->tensors, tensors);
  EXPECT_EQ(read->values, values);
  Bytes bytes = *ReadFile(path, 1 << 20);
  ASSERT_GT(bytes.size(), 36u);
  EXPECT_EQ(std::memcmp(bytes.data() + bytes.size() - 36, values.data(), 36), 0);
  EXPECT_EQ((bytes.size() - 36) % 8, 0u);
  EXPECT_FALSE(WriteSafetensors(folder.path() / "no" / "such" / "folder", tensors, values).ok());
}

template <typename T>
Bytes RawOf(const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::vector<float> ValuesOf(const std::string& dtype, const Bytes& data, size_t count) {
  ByteWriter out;
  out.Sized("{" + Tensor("a", "[" + std::to_string(count) + "]", 0, data.size(), dtype) + "}")
      .Raw(data);
  auto parsed = ParseSafetensors(out.bytes());
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed.ok() ? parsed->values : std::vector<float>{};
}

TEST(SafetensorsTest, OtherFloatsBecomeFloat32) {
  const float infinity = std::numeric_limits<float>::infinity();
  // One, the largest, the smallest normal and subnormal, -0, infinity.
  EXPECT_EQ(ValuesOf("F16", RawOf<uint16_t>({0x3C00, 0x7BFF, 0x0400, 0x8001, 0x8000, 0xFC00}), 6),
            (std::vector<float>{1, 65504, 0x1p-14f, -0x1p-24f, -0.0f, -infinity}));
  EXPECT_TRUE(std::isnan(ValuesOf("F16", RawOf<uint16_t>({0x7E00}), 1)[0]));
  EXPECT_EQ(ValuesOf("BF16", RawOf<uint16_t>({0x3F80, 0xC040, 0x7F80}), 3),
            (std::vector<float>{1, -3, infinity}));
  EXPECT_EQ(ValuesOf("F64", RawOf<double>({0.5, -1e300}), 2),
            (std::vector<float>{0.5f, -infinity}));
}

TEST(SafetensorsTest, IntegersAreSkipped) {
  ByteWriter out;
  out.Sized("{" + Tensor("ids", "[1,2]", 0, 16, "I64") + "," + Tensor("a", "[1]", 16, 20) + "," +
            Tensor("flag", "[]", 20, 21, "BOOL") + "}")
      .Raw(Bytes(21, 0));
  auto parsed = ParseSafetensors(out.bytes());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->tensors, (std::vector<TensorInfo>{{"a", {1}, 0, 1}}));
  EXPECT_EQ(parsed->values, std::vector<float>{0});
  EXPECT_EQ(parsed->skipped, (std::vector<std::string>{"ids", "flag"}));
}

TEST(SafetensorsTest, AFileCutOffAnywhereIsRefused) {
  Bytes file = File("{" + Tensor("a", "[2]", 0, 8) + "}", 8);
  ASSERT_TRUE(ParseSafetensors(file).ok());
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_FALSE(ParseSafetensors(ByteView(file).first(size)).ok()) << size;
  }
}

TEST(SafetensorsTest, HostileHeaders) {
  EXPECT_THAT(Error("[]"), HasSubstr("no JSON object"));
  EXPECT_THAT(Error("{"), HasSubstr("no JSON object"));
  EXPECT_FALSE(Error(std::string(100'000, '[')).empty());
  EXPECT_FALSE(
      Error("{\"a\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}").empty());
  EXPECT_THAT(Error("{\"a\":3}"), HasSubstr("no object"));
  EXPECT_THAT(Error("{" + Tensor("a", "[8]", 0, 8, "F8_E4M3") + "}"), HasSubstr("F32"));
  EXPECT_THAT(Error("{\"a\":{\"dtype\":\"F32\"}}"), HasSubstr("shape"));
  EXPECT_THAT(Error("{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}"), HasSubstr("data_offsets"));
  EXPECT_THAT(Error("{" + Tensor("a", "[-2]", 0, 8) + "}"), HasSubstr("counts"));
  EXPECT_THAT(Error("{" + Tensor("a", "[2.0]", 0, 8) + "}"), HasSubstr("counts"));
  EXPECT_THAT(Error("{" + Tensor("a", "[1,1,1,1,1,1,1,1,2]", 0, 8) + "}"), HasSubstr("shape"));
  // Products that wrap around to 2.
  EXPECT_THAT(Error("{" + Tensor("a", "[4294967296,4294967296,2]", 0, 8) + "}"),
              HasSubstr("too large"));
  EXPECT_THAT(Error("{" + Tensor("a", "[9223372036854775809,2]", 0, 8) + "}"),
              HasSubstr("too large"));
  EXPECT_THAT(Error("{" + Tensor("a", "[2]", 0, 12) + "}"), HasSubstr("outside the file"));
  EXPECT_THAT(Error("{" + Tensor("a", "[2]", 8, 0) + "}"), HasSubstr("outside the file"));
  EXPECT_THAT(Error("{" + Tensor("a", "[3]", 0, 8) + "}"), HasSubstr("does not fit"));
  EXPECT_THAT(Error("{" + Tensor("a", "[1]", 2, 6) + "}"), HasSubstr("not aligned"));
  EXPECT_THAT(Error("{" + Tensor("a", "[1]", 4, 8) + "}"), HasSubstr("gap or an overlap"));
  EXPECT_THAT(Error("{" + Tensor("a", "[2]", 0, 8) + "," + Tensor("b", "[1]", 4, 8) + "}"),
              HasSubstr("gap or an overlap"));
  EXPECT_THAT(Error("{" + Tensor("a", "[1]", 0, 4) + "}"), HasSubstr("behind the last tensor"));
  ByteWriter huge;
  huge.U64(~uint64_t{0}).Raw(Bytes(8, 'x'));
  EXPECT_FALSE(ParseSafetensors(huge.bytes()).ok());
}

TEST(ArchitectureTest, TheCatalogsNetworks) {
  recipes::Model model;
  auto count = [](const Architecture& a) {
    auto tensors = ParametersOf(a);
    return tensors.back().offset + tensors.back().elements;
  };
  auto narrow = *ResolveArchitecture(model, {});
  EXPECT_EQ(narrow.padding, 0);
  EXPECT_EQ(narrow.hidden, (std::vector<int64_t>{120, 84}));
  EXPECT_EQ(count(narrow), 44'426u);  // NIID-Bench's SimpleCNN on 28 x 28
  model.channels = {32, 64};
  auto wide = *ResolveArchitecture(model, {});
  EXPECT_EQ(wide.padding, 2);
  EXPECT_EQ(wide.hidden, (std::vector<int64_t>{512}));
  EXPECT_EQ(count(wide), 1'663'370u);  // as the FedAvg paper says
  model.kind = recipes::ModelKind::kMlp;
  auto mlp = *ResolveArchitecture(model, {});
  EXPECT_TRUE(mlp.channels.empty());
  EXPECT_EQ(count(mlp), 784u * 200 + 200 + 200 * 10 + 10);
  model.hidden = {200, 200};
  EXPECT_EQ(count(*ResolveArchitecture(model, {})), 199'210u);  // the paper's 2NN
}

TEST(ArchitectureTest, ImpossibleOnes) {
  auto error = [](std::vector<int> channels, std::vector<int> hidden) {
    recipes::Model model;
    model.channels = channels;
    model.hidden = hidden;
    return std::string(ResolveArchitecture(model, {}).status().message());
  };
  EXPECT_THAT(error({6, 16, 32, 64}, {}), HasSubstr("nothing is left"));
  EXPECT_THAT(error({}, {}), HasSubstr("at least one convolution"));
  EXPECT_THAT(error({6, 0}, {}), HasSubstr("model.channels: 0"));
  EXPECT_THAT(error({6, 16}, {-1}), HasSubstr("model.hidden: -1"));
  EXPECT_THAT(error({6, 16}, {1 << 20, 1 << 20}), HasSubstr("parameters; at most"));
}

TEST(ModelConfigTest, SaysHowToUseTheWeights) {
  auto a = *ResolveArchitecture(recipes::Model{}, {});
  DataTraits traits;
  traits.normalisation = {{0.2860f}, {0.3530f}};
  nlohmann::ordered_json config = ImageNetConfig(a);
  AddData(config, traits, recipes::DatasetKind::kFashionMnist);
  EXPECT_EQ(config["architecture"]["kind"], "cnn");
  EXPECT_EQ(config["architecture"]["channels"], (std::vector<int>{6, 16}));
  EXPECT_EQ(config["architecture"]["padding"], 0);
  EXPECT_EQ(config["num_classes"], 10);
  EXPECT_EQ(config["input_shape"], (std::vector<int>{1, 28, 28}));
  EXPECT_EQ(config["normalisation"]["mean"][0], 0.286);
  EXPECT_EQ(config["normalisation"]["std"][0], 0.353);
  EXPECT_EQ(config["dataset"], "fashion-mnist");
}

}  // namespace
}  // namespace atl::trainer

// Real runs under mpirun: several ranks train what one rank with the global batch does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "nlohmann/json.hpp"
#include "tests/trainer/mpi_job.h"
#include "trainer/export/safetensors.h"

namespace atl::trainer {
namespace {

using ::testing::HasSubstr;

class DataParallelTest : public ::testing::Test {
 protected:
  DataParallelTest() {
    std::ofstream(folder_.path() / "recipe.yaml")
        << "name: ddp\nrun: atoll-trainer task.yaml\nparameters:\n"
           "  model: {kind: cnn, channels: [6, 16]}\n"
           "  data: {limit: 503, test_limit: 101}\n"
           "  train: {optimizer: {kind: sgd, lr: 0.05, momentum: 0.9}, local_epochs: 2, bucket_mb: "
           "0.02}\n"
           "  privacy: {secure_aggregation: {enabled: false}}\n"
           "  federation: {cohort: {min: 1}}\n";
  }
  int Run(int ranks, const std::string& out, std::vector<std::string> more,
          std::string* output = nullptr) {
    std::vector<std::string> arguments = {"recipe.yaml", "--out", out};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunToEnd(folder_.path(), ranks, arguments, output);
  }
  // The model that `ranks` ranks with this batch each come to.
  std::vector<float> Train(int ranks, int batch, const std::string& out,
                           const std::vector<std::string>& settings = {}) {
    std::string output;
    std::vector<std::string> more = {"--set", "train.batch_size=" + std::to_string(batch)};
    for (const std::string& setting : settings) more.insert(more.end(), {"--set", setting});
    EXPECT_EQ(Run(ranks, out, more, &output), 0) << output;
    auto file = ReadSafetensors(folder_.path() / out / "model.safetensors");
    EXPECT_TRUE(file.ok()) << file.status();
    return file.ok() ? file->values : std::vector<float>{};
  }
  TemporaryFolder folder_ = *TemporaryFolder::Create("atoll-ddp");
};

TEST_F(DataParallelTest, AnyNumberOfRanksEqualsOneWithTheGlobalBatch) {
  const std::vector<float> one = Train(1, 48, "one");
  ASSERT_EQ(one.size(), 44'426u);
  for (int ranks : {2, 3}) {
    const std::vector<float> several = Train(ranks, 48 / ranks, "ranks" + std::to_string(ranks));
    ASSERT_EQ(several.size(), one.size());
    double worst = 0;
    for (size_t i = 0; i < one.size(); ++i)
      worst = std::max<double>(worst, std::abs(one[i] - several[i]));
    EXPECT_LT(worst, 2e-4) << ranks << " ranks";
    EXPECT_GT(worst, 0)
        << "they add in another order; equal bits mean that the ranks did not share the work";
  }
}

// What everything that may not matter to the result comes to: 503 examples in global batches of 48,
// so that the last one divides evenly by nothing.
TEST_F(DataParallelTest, BucketsAccumulationAndShardsChangeNothing) {
  const std::vector<std::string> common = {
      "train.max_grad_norm=0.5", "train.optimizer.weight_decay=0.01", "train.schedule.kind=linear",
      "train.schedule.warmup=0.2"};
  int runs = 0;
  const auto train = [&](int ranks, int batch, std::vector<std::string> settings) {
    settings.insert(settings.end(), common.begin(), common.end());
    return Train(ranks, batch, "run" + std::to_string(++runs), settings);
  };
  const auto same_bits = [](const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
  };
  const std::vector<float> one = train(1, 48, {});
  ASSERT_EQ(one.size(), 44'426u);
  for (const char* bucket : {"0.001", "0.02", "64"}) {
    const std::string bucket_mb = std::string("train.bucket_mb=") + bucket;
    for (int accumulate : {1, 3}) {
      const std::string steps = "train.accumulate_steps=" + std::to_string(accumulate);
      const std::vector<float> whole = train(2, 24 / accumulate, {bucket_mb, steps});
      ASSERT_EQ(whole.size(), one.size());
      double worst = 0;
      for (size_t i = 0; i < one.size(); ++i)
        worst = std::max<double>(worst, std::abs(one[i] - whole[i]));
      EXPECT_LT(worst, 2e-4) << bucket_mb << " " << steps;
      const std::vector<float> sharded =
          train(2, 24 / accumulate, {bucket_mb, steps, "train.optimizer.sharded=true"});
      EXPECT_TRUE(same_bits(whole, sharded)) << bucket_mb << " " << steps;
    }
  }
}

TEST_F(DataParallelTest, TheSameRunGivesTheSameBits) {
  const std::vector<float> first = Train(2, 24, "first");
  const std::vector<float> second = Train(2, 24, "second");
  ASSERT_FALSE(first.empty());
  ASSERT_EQ(first.size(), second.size());
  EXPECT_EQ(std::memcmp(first.data(), second.data(), first.size() * sizeof(float)), 0);
}

TEST_F(DataParallelTest, Bf16TrainsAboutWhatFp32Does) {
  const auto loss = [&](const std::string& precision) {
    std::string output;
    EXPECT_EQ(Run(2, precision, {"--set", "site.precision=" + precision}, &output), 0) << output;
    std::ifstream file(folder_.path() / precision / "summary.json");
    return nlohmann::json::parse(file)["final"]["loss"].get<double>();
  };
  const double fp32 = loss("fp32"), bf16 = loss("bf16");
  EXPECT_NEAR(bf16, fp32, 0.03 * fp32);
  EXPECT_NE(bf16, fp32) << "bf16 rounds";
}

TEST_F(DataParallelTest, ARunLeavesItsFilesAndSaysWhere) {
  std::string output;
  ASSERT_EQ(Run(2, "out", {}, &output), 0) << output;
  EXPECT_THAT(output, HasSubstr("epoch 2/2"));
  EXPECT_THAT(output, HasSubstr("results in out"));
  auto read = [&](const char* name) {
    std::ifstream file(folder_.path() / "out" / name);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  auto summary = nlohmann::json::parse(read("summary.json"));
  EXPECT_EQ(summary["status"], "complete");
  EXPECT_EQ(summary["rounds_completed"], 2);
  EXPECT_EQ(summary["final"]["examples"], 101);
  EXPECT_GT(summary["final"]["accuracy"], 0.1);
  const std::string metrics = read("metrics.jsonl");
  EXPECT_EQ(std::count(metrics.begin(), metrics.end(), '\n'), 2);
  EXPECT_EQ(nlohmann::json::parse(metrics.substr(0, metrics.find('\n')))["progress"], 50);
  EXPECT_THAT(read("recipe.yaml"), HasSubstr("ddp"));
  EXPECT_EQ(nlohmann::json::parse(read("config.json"))["num_classes"], 10);
}

TEST_F(DataParallelTest, ALossThatIsNotFiniteNamesStepAndRank) {
  std::string output;
  EXPECT_EQ(Run(2, "nan", {"--set", "train.lr=1000", "--set", "train.local_epochs=20"}, &output),
            1);
  EXPECT_THAT(output,
              ::testing::ContainsRegex("the loss is -?(nan|inf) at step [0-9]+ of [0-9]+ on rank"));
  EXPECT_EQ(output.find("atoll-trainer:"), output.rfind("atoll-trainer:")) << output;
}

TEST_F(DataParallelTest, ErrorsAreOneLineAndExitCodes) {
  std::string output;
  EXPECT_EQ(Run(2, "x", {"--set", "data.folder=/nowhere"}, &output), 1);
  EXPECT_THAT(output, HasSubstr("apt install dataset-fashion-mnist"));
  EXPECT_EQ(output.find("atoll-trainer:"), output.rfind("atoll-trainer:")) << output;
  std::ofstream(folder_.path() / "file") << "not a folder";
  EXPECT_EQ(Run(2, "file/out", {}, &output), 1);
  EXPECT_THAT(output, HasSubstr("file: cannot make the folder"));
  EXPECT_EQ(RunToEnd(folder_.path(), 2, {}, &output), 2);
  EXPECT_THAT(output, HasSubstr("RECIPE is required"));
  EXPECT_EQ(RunToEnd(folder_.path(), 1, {"serve"}, &output), 2);
  EXPECT_EQ(RunToEnd(folder_.path(), 1, {"--help"}, &output), 0);
  EXPECT_THAT(output, HasSubstr("mpirun -np 4 atoll-trainer RECIPE"));
}

}  // namespace
}  // namespace atl::trainer

// atoll-trainer says what carries its sums and why; and where a GPU is, it trains there as on the
// CPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "comms/collectives/nccl/load.h"
#include "tests/trainer/mpi_job.h"
#include "trainer/export/safetensors.h"

namespace atl::trainer {
namespace {

using ::testing::HasSubstr;

class TrainerBackend : public ::testing::Test {
 protected:
  TrainerBackend() {
    std::ofstream(folder_.path() / "recipe.yaml")
        << "name: backend\nrun: atoll-trainer task.yaml\nparameters:\n"
           "  model: {kind: mlp, hidden: [16]}\n"
           "  data: {limit: 300, test_limit: 100}\n"
           "  train: {optimizer: {kind: sgd, lr: 0.05, momentum: 0.9}, local_epochs: 2}\n"
           "  privacy: {secure_aggregation: {enabled: false}}\n"
           "  federation: {cohort: {min: 1}}\n";
    const std::filesystem::path beside = std::filesystem::path(TrainerProgram()).parent_path();
    gpus_ = LoadGpu({.folder = beside}).status();
  }
  int Run(const std::string& backend, int ranks, const std::string& out, std::string* output) {
    return RunToEnd(folder_.path(), ranks,
                    {"recipe.yaml", "--out", out, "--set", "site.backend=" + backend}, output);
  }
  std::vector<float> Model(const std::string& out) {
    auto file = ReadSafetensors(folder_.path() / out / "model.safetensors");
    EXPECT_TRUE(file.ok()) << file.status();
    return file.ok() ? file->values : std::vector<float>{};
  }
  TemporaryFolder folder_ = *TemporaryFolder::Create("atoll-backend");
  absl::Status gpus_;  // why there are none; OK: there are
};

TEST_F(TrainerBackend, MpiIsWhatWasAskedFor) {
  std::string output;
  EXPECT_EQ(Run("mpi", 2, "on-mpi", &output), 0) << output;
  EXPECT_THAT(output, HasSubstr("backend: mpi"));
  EXPECT_THAT(output, HasSubstr("(the recipe asks for it)"));
}

TEST_F(TrainerBackend, WithoutAGpuAutoIsMpiAndNcclAnErrorOfAllRanks) {
  if (gpus_.ok()) GTEST_SKIP() << "this machine has a GPU";
  std::string output;
  EXPECT_EQ(Run("auto", 2, "auto", &output), 0) << output;
  EXPECT_THAT(output, HasSubstr("backend: mpi"));
  EXPECT_THAT(output, HasSubstr("(on the CPU: " + std::string(gpus_.message())));
  EXPECT_EQ(Run("nccl", 2, "nccl", &output), 1);
  EXPECT_THAT(output, HasSubstr("site.backend: nccl is not possible here: " +
                                std::string(gpus_.message())));
}

TEST_F(TrainerBackend, OnAGpuItTrainsAsOnTheCpu) {
  if (!gpus_.ok()) GTEST_SKIP() << gpus_.message();
  std::string output;
  EXPECT_EQ(Run("nccl", 1, "gpu", &output), 0) << output;
  EXPECT_THAT(output, HasSubstr("backend: nccl"));
  EXPECT_EQ(Run("mpi", 1, "cpu", &output), 0) << output;
  const std::vector<float> gpu = Model("gpu"), cpu = Model("cpu");
  ASSERT_EQ(gpu.size(), cpu.size());
  double worst = 0;
  for (size_t i = 0; i < gpu.size(); ++i)
    worst = std::max<double>(worst, std::abs(gpu[i] - cpu[i]));
  EXPECT_LT(worst, 1e-3);
}

}  // namespace
}  // namespace atl::trainer

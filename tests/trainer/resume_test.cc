// Runs that stop, are killed or find bad checkpoints, and go on: real processes under mpirun.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <signal.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <thread>

#include "nlohmann/json.hpp"
#include "tests/trainer/mpi_job.h"
#include "trainer/export/safetensors.h"

namespace atl::trainer {
namespace {

namespace fs = std::filesystem;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

using Clock = std::chrono::steady_clock;

class ResumeTest : public ::testing::Test {
 protected:
  // 600 examples in global batches of 40 on two ranks: 15 steps an epoch, 45 in all; checkpoints
  // after 4, 8, ... 44, of which 40 and 44 are kept.
  ResumeTest() {
    std::ofstream(folder_.path() / "recipe.yaml")
        << "name: resume\nrun: atoll-trainer task.yaml\nparameters:\n"
           "  model: {kind: mlp, hidden: [32]}\n"
           "  data: {limit: 600, test_limit: 100}\n"
           "  train:\n"
           "    optimizer: {kind: adamw, lr: 0.003, weight_decay: 0.01}\n"
           "    schedule: {kind: cosine, warmup: 0.1}\n"
           "    batch_size: 10\n"
           "    accumulate_steps: 2\n"
           "    max_grad_norm: 1.0\n"
           "    local_epochs: 3\n"
           "    checkpoint_steps: 4\n"
           "  privacy: {secure_aggregation: {enabled: false}}\n"
           "  federation: {cohort: {min: 1}}\n";
  }

  int Run(int ranks, std::vector<std::string> arguments, std::string* output = nullptr) {
    fs::remove(folder_.path() / "output.txt");
    return RunToEnd(folder_.path(), ranks, arguments, output);
  }
  int Resume(int ranks, const std::string& run, std::vector<std::string> more,
             std::string* output) {
    more.insert(more.begin(), {"--resume", run});
    return Run(ranks, more, output);
  }
  std::string Read(const fs::path& file) const {
    std::ifstream in(folder_.path() / file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::string Model(const std::string& run) const {
    return Read(fs::path(run) / "model.safetensors");
  }
  // Without what no two runs have in common.
  std::vector<std::string> Metrics(const std::string& run) const {
    std::vector<std::string> lines;
    std::istringstream in(Read(fs::path(run) / "metrics.jsonl"));
    for (std::string line; std::getline(in, line);) {
      auto json = nlohmann::json::parse(line);
      json.erase("t");
      json["metrics"].erase("seconds");
      lines.push_back(json.dump());
    }
    return lines;
  }
  // A run to its end, and a copy of it as if it had been killed right after its last checkpoint.
  void RunAndCut(const std::string& whole, const std::string& cut,
                 std::vector<std::string> more = {}) {
    std::string output;
    more.insert(more.begin(), {"recipe.yaml", "--out", whole});
    ASSERT_EQ(Run(2, more, &output), 0) << output;
    fs::copy(folder_.path() / whole, folder_.path() / cut, fs::copy_options::recursive);
    fs::remove(folder_.path() / cut / "summary.json");
    fs::remove(folder_.path() / cut / "model.safetensors");
  }
  fs::path CheckpointOf(const std::string& run, int step) const {
    char name[32];
    std::snprintf(name, sizeof(name), "step-%010d.ckpt", step);
    return folder_.path() / run / "checkpoints" / name;
  }
  void WaitFor(const std::string& what, const std::function<bool()>& done) {
    const auto deadline = Clock::now() + std::chrono::seconds(60);
    while (!done()) {
      ASSERT_LT(Clock::now(), deadline) << "no " << what;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  TemporaryFolder folder_ = *TemporaryFolder::Create("atoll-resume");
};

TEST_F(ResumeTest, GivesTheBitsOfTheRunThatWasNotInterrupted) {
  for (const char* sharded : {"false", "true"}) {
    const std::string whole = std::string("whole-") + sharded, cut = std::string("cut-") + sharded;
    RunAndCut(whole, cut, {"--set", std::string("train.optimizer.sharded=") + sharded});
    std::string output;
    ASSERT_EQ(Resume(2, cut, {}, &output), 0) << output;
    EXPECT_THAT(output, HasSubstr("step-0000000044.ckpt (step 44, epoch 3, example 560)"));
    EXPECT_THAT(output, Not(HasSubstr("epoch 2/3"))) << "that epoch was done before";
    EXPECT_FALSE(Model(whole).empty());
    EXPECT_TRUE(Model(cut) == Model(whole));
    EXPECT_EQ(Metrics(cut), Metrics(whole));
    EXPECT_EQ(Metrics(cut).size(), 3u);
  }
  // Who owns the state makes no difference to what comes out.
  EXPECT_TRUE(Model("whole-true") == Model("whole-false"));
  // A complete run has nothing left to do.
  std::string output;
  EXPECT_EQ(Resume(2, "whole-true", {}, &output), 0);
  EXPECT_THAT(output, HasSubstr("this run is complete"));
}

TEST_F(ResumeTest, ABadCheckpointIsPassedOverForTheOneBefore) {
  RunAndCut("whole", "cut");
  const fs::path newest = CheckpointOf("cut", 44);
  fs::resize_file(newest, fs::file_size(newest) / 2);
  std::string output;
  ASSERT_EQ(Resume(2, "cut", {}, &output), 0) << output;
  EXPECT_THAT(output, ContainsRegex("passed over .*step-0000000044.ckpt: is cut off or changed"));
  EXPECT_THAT(output, HasSubstr("goes on from cut/checkpoints/step-0000000040.ckpt"));
  EXPECT_TRUE(Model("cut") == Model("whole"));
  EXPECT_EQ(Metrics("cut"), Metrics("whole"));
}

TEST_F(ResumeTest, ErrorsSayWhyARunCannotGoOn) {
  RunAndCut("whole", "cut");
  std::string output;
  EXPECT_EQ(Resume(2, "nowhere", {"recipe.yaml"}, &output), 1);
  EXPECT_THAT(output, HasSubstr("nowhere: there is no run to go on with"));
  EXPECT_EQ(Resume(2, "cut", {"--set", "train.batch_size=12"}, &output), 1);
  EXPECT_THAT(output, HasSubstr("train.batch_size is 12, not 10"));
  EXPECT_EQ(Resume(2, "cut", {"--set", "train.lr=0.25"}, &output), 1);
  EXPECT_THAT(output, HasSubstr("train.optimizer.lr is 0.25, not 0.003"));
  EXPECT_EQ(Run(2, {"recipe.yaml", "--out", "cut"}, &output), 1);
  EXPECT_THAT(output, HasSubstr("go on with it by --resume cut"));
  for (int step : {40, 44}) {
    std::fstream file(CheckpointOf("cut", step), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(1000);
    file.put('\x55');
  }
  EXPECT_EQ(Resume(2, "cut", {}, &output), 1);
  EXPECT_THAT(output, HasSubstr("no checkpoint is good"));
  EXPECT_EQ(output.find("atoll-trainer:"), output.rfind("atoll-trainer:")) << output;
  EXPECT_EQ(Metrics("cut"), Metrics("whole")) << "a refusal changes nothing";
}

TEST_F(ResumeTest, WithoutACheckpointTheRunStartsAgain) {
  RunAndCut("whole", "cut");
  fs::remove_all(folder_.path() / "cut" / "checkpoints");
  std::string output;
  ASSERT_EQ(Resume(2, "cut", {}, &output), 0) << output;
  EXPECT_THAT(output, HasSubstr("has no checkpoint yet: starts from the beginning"));
  EXPECT_TRUE(Model("cut") == Model("whole"));
  EXPECT_EQ(Metrics("cut"), Metrics("whole"));
}

TEST_F(ResumeTest, AnotherNumberOfRanksGoesOnFromTheSameExample) {
  RunAndCut("whole", "cut",
            {"--set", "train.optimizer.sharded=true", "--set", "train.schedule.kind=constant",
             "--set", "train.optimizer.lr=0.005"});
  fs::remove(CheckpointOf("cut", 44));
  fs::copy(folder_.path() / "cut", folder_.path() / "cut3", fs::copy_options::recursive);
  std::string output;
  // One rank that makes up the same global batch: the same five steps, in another order of
  // addition.
  ASSERT_EQ(Resume(1, "cut", {"--set", "train.accumulate_steps=4"}, &output), 0) << output;
  EXPECT_THAT(output, HasSubstr("(step 40, epoch 3, example 400)"));
  auto whole = ReadSafetensors(folder_.path() / "whole" / "model.safetensors");
  auto cut = ReadSafetensors(folder_.path() / "cut" / "model.safetensors");
  ASSERT_TRUE(whole.ok() && cut.ok()) << whole.status() << cut.status();
  ASSERT_EQ(cut->values.size(), whole->values.size());
  double worst = 0;
  for (size_t i = 0; i < cut->values.size(); ++i)
    worst = std::max<double>(worst, std::abs(cut->values[i] - whole->values[i]));
  EXPECT_LT(worst, 1e-3) << "a step is 5e-3";
  EXPECT_GT(worst, 0);
  // Three ranks, whose global batch is another: they share the state, and what is left, anew.
  ASSERT_EQ(Resume(3, "cut3", {}, &output), 0) << output;
  EXPECT_THAT(output, HasSubstr("(step 40, epoch 3, example 400)"));
  for (const char* run : {"cut", "cut3"}) {
    auto summary = nlohmann::json::parse(Read(fs::path(run) / "summary.json"));
    EXPECT_EQ(summary["train"]["examples"], 600) << "each example once, whoever had it";
    EXPECT_LT(summary["final"]["loss"], 2.0);
    EXPECT_EQ(Metrics(run).size(), 3u);
  }
}

TEST_F(ResumeTest, ASignalStopsAllRanksAtOneStepWithACheckpoint) {
  const std::vector<std::string> longer = {"--set", "train.local_epochs=60", "--set",
                                           "train.checkpoint_steps=0"};
  std::vector<std::string> arguments = {"recipe.yaml", "--out", "whole"};
  arguments.insert(arguments.end(), longer.begin(), longer.end());
  std::string output;
  ASSERT_EQ(Run(2, arguments, &output), 0) << output;
  arguments[2] = "stopped";
  fs::remove(folder_.path() / "output.txt");
  {
    auto job = MpiJob::Start(folder_.path(), 2, arguments);
    ASSERT_TRUE(job.ok()) << job.status();
    WaitFor("epoch", [&] { return job->output().find("epoch 2/60") != std::string::npos; });
    const auto asked = Clock::now();
    kill(job->process().pid(), SIGUSR1);
    auto code = job->process().Wait(20'000);
    ASSERT_TRUE(code.ok()) << code.status();
    EXPECT_EQ(*code, 75) << job->output();
    EXPECT_LT(Clock::now() - asked, std::chrono::seconds(5));
    EXPECT_THAT(job->output(),
                HasSubstr("training was stopped; the last good checkpoint is stopped/"));
    EXPECT_TRUE(job->Leftovers().empty());
  }
  EXPECT_FALSE(fs::exists(folder_.path() / "stopped" / "summary.json"));
  ASSERT_EQ(Resume(2, "stopped", {}, &output), 0) << output;
  EXPECT_TRUE(Model("stopped") == Model("whole"));
  EXPECT_EQ(Metrics("stopped"), Metrics("whole"));
}

// Steps of about a second: what is asked for comes in the middle of one.
class SlowStepTest : public ResumeTest {
 protected:
  absl::StatusOr<Process> StartAlone() {
    ProcessOptions options;
    options.arguments = {
        TrainerProgram(), "recipe.yaml",           "--out", "slow",
        "--set",          "data.limit=0",          "--set", "train.batch_size=30000",
        "--set",          "model.hidden=[512]",    "--set", "train.accumulate_steps=1",
        "--set",          "train.local_epochs=100"};
    options.working_folder = folder_.path().string();
    options.output_file = (folder_.path() / "output.txt").string();
    return Process::Start(options);
  }
  void WaitForTraining() {
    WaitFor("training", [&] { return Read("output.txt").find("examples,") != std::string::npos; });
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  }
};

TEST_F(SlowStepTest, SigtermToARankEndsItWithItsOwnExitCode) {
  auto process = StartAlone();
  ASSERT_TRUE(process.ok()) << process.status();
  WaitForTraining();
  const auto asked = Clock::now();
  kill(process->pid(), SIGTERM);
  auto code = process->Wait(60'000);
  ASSERT_TRUE(code.ok()) << code.status();
  EXPECT_EQ(*code, 75) << Read("output.txt");
  EXPECT_LT(Clock::now() - asked, std::chrono::seconds(20)) << "a step and a write";
  EXPECT_FALSE(fs::is_empty(folder_.path() / "slow" / "checkpoints"));
}

TEST_F(SlowStepTest, TheSecondSignalEndsItAtOnce) {
  auto process = StartAlone();
  ASSERT_TRUE(process.ok()) << process.status();
  WaitForTraining();
  kill(process->pid(), SIGTERM);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  kill(process->pid(), SIGTERM);
  auto code = process->Wait(10'000);
  ASSERT_TRUE(code.ok()) << code.status();
  EXPECT_EQ(*code, 128 + SIGTERM) << Read("output.txt");
}

TEST_F(SlowStepTest, TwoRunsInOneFolderAreRefused) {
  auto process = StartAlone();
  ASSERT_TRUE(process.ok()) << process.status();
  WaitForTraining();
  std::string output;
  EXPECT_EQ(RunToEnd(folder_.path(), 1, {"--resume", "slow"}, &output), 1);
  EXPECT_THAT(output, HasSubstr("slow: another process works on this run"));
}

TEST_F(ResumeTest, ALossThatIsNotFiniteLeavesTheLastGoodCheckpoint) {
  std::string output;
  EXPECT_EQ(Run(2,
                {"recipe.yaml", "--out", "nan", "--set", "train.optimizer.kind=sgd", "--set",
                 "train.schedule.kind=constant", "--set", "train.lr=1000", "--set",
                 "train.max_grad_norm=0", "--set", "train.checkpoint_steps=1", "--set",
                 "train.local_epochs=50"},
                &output),
            1);
  EXPECT_THAT(output,
              ContainsRegex("the loss is -?(nan|inf) at step [0-9]+ of [0-9]+ on rank [01]"));
  const std::string mark = "the last good checkpoint is ";
  ASSERT_THAT(output, HasSubstr(mark));
  std::string path = output.substr(output.find(mark) + mark.size());
  path = path.substr(0, path.find('\n'));
  EXPECT_TRUE(fs::exists(folder_.path() / path)) << path;
  // It is of before the step that went wrong, and that step goes wrong again.
  EXPECT_EQ(Resume(2, "nan", {}, &output), 1);
  EXPECT_THAT(output, HasSubstr("goes on from " + path));
  EXPECT_THAT(output, HasSubstr("the loss is"));
}

TEST_F(ResumeTest, ACheckpointThatCannotBeWrittenEndsTheRun) {
  fs::create_directory(folder_.path() / "out");
  std::ofstream(folder_.path() / "out" / "checkpoints") << "a file where the folder should be";
  std::string output;
  EXPECT_EQ(Run(2, {"recipe.yaml", "--out", "out"}, &output), 1);
  EXPECT_THAT(output, HasSubstr("writing a checkpoint: out/checkpoints: cannot make the folder"));
  EXPECT_EQ(output.find("atoll-trainer:"), output.rfind("atoll-trainer:")) << output;
}

}  // namespace
}  // namespace atl::trainer

// Checkpoint files and folders, without torch: what is written comes back, and nothing else does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/resource.h>

#include <csignal>
#include <fstream>

#include "comms/base/crypto/sha256.h"
#include "comms/base/files.h"
#include "comms/base/random.h"
#include "recipes/schema/load.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/compare.h"
#include "trainer/checkpoint/folder.h"
#include "trainer/checkpoint/writer.h"

namespace atl::trainer {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Checkpoint Example(uint64_t steps, uint64_t parameters = 1000) {
  Checkpoint c;
  c.recipe_yaml = recipes::ToYaml(recipes::Recipe{.name = "x", .run = "y"});
  c.ranks = 2;
  c.examples = 503;
  c.position = {.epoch = 3, .examples = 96, .steps = steps};
  c.epoch_so_far = {{48, 20, 1.25}, {48, 21, 1.5}};
  for (uint64_t i = 0; i < parameters; ++i) c.parameters.push_back(static_cast<float>(i) / 7);
  c.optimizer = {{"exp_avg", c.parameters}, {"exp_avg_sq", c.parameters}};
  c.optimizer[1].values.back() = -1.0f;
  return c;
}

Bytes Read(const fs::path& path) { return *ReadFile(path, 1 << 20); }

class CheckpointTest : public ::testing::Test {
 protected:
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_.path() / "checkpoints"))
      names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  TemporaryFolder folder_ = *TemporaryFolder::Create("atoll-checkpoint");
  CheckpointFolder checkpoints_{folder_.path()};
};

TEST_F(CheckpointTest, WhatIsWrittenComesBack) {
  for (uint64_t parameters : {uint64_t{1}, uint64_t{100'000}}) {
    const Checkpoint written = Example(12, parameters);
    const fs::path path = folder_.path() / "c.ckpt";
    ASSERT_TRUE(WriteCheckpoint(path, written).ok());
    auto read = ReadCheckpoint(path, parameters);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_TRUE(*read == written);
  }
}

TEST_F(CheckpointTest, EveryCutAndEveryChangedByteIsFound) {
  const fs::path path = folder_.path() / "c.ckpt";
  ASSERT_TRUE(WriteCheckpoint(path, Example(12, 3)).ok());
  const Bytes good = Read(path);
  ASSERT_TRUE(ParseCheckpoint(good).ok());
  for (size_t size = 0; size < good.size(); ++size) {
    auto parsed = ParseCheckpoint(ByteView(good).first(size));
    ASSERT_TRUE(absl::IsDataLoss(parsed.status())) << size << ": " << parsed.status();
  }
  for (size_t i = 0; i < good.size(); ++i) {
    Bytes bad = good;
    bad[i] ^= 0x10;
    auto parsed = ParseCheckpoint(bad);
    ASSERT_FALSE(parsed.ok()) << "byte " << i;
    ASSERT_EQ(absl::IsInvalidArgument(parsed.status()), i < 8) << "byte " << i;
  }
}

// Whoever makes a digest that fits may still write nonsense.
TEST_F(CheckpointTest, NonsenseWithARightDigestIsRefused) {
  const fs::path path = folder_.path() / "c.ckpt";
  ASSERT_TRUE(WriteCheckpoint(path, Example(12, 3)).ok());
  const Bytes good = Read(path);
  const uint64_t seed = 11;
  SeededRandom random({.seed = seed, .label = "nonsense"});
  size_t refused = 0;
  for (int attempt = 0; attempt < 2000; ++attempt) {
    Bytes bad(good.begin(), good.end() - 32);
    for (uint64_t changes = 1 + random.Below(3); changes > 0; --changes)
      bad[8 + random.Below(bad.size() - 8)] = static_cast<uint8_t>(random.Next());
    if (random.Below(4) == 0) bad.resize(8 + random.Below(bad.size() - 8));
    const Digest digest = Sha256::Of(bad);
    bad.insert(bad.end(), digest.begin(), digest.end());
    auto parsed = ParseCheckpoint(bad);
    if (!parsed.ok()) {
      ++refused;
      continue;
    }
    ASSERT_EQ(parsed->epoch_so_far.size(), parsed->ranks) << "seed " << seed;
    for (const auto& state : parsed->optimizer)
      ASSERT_EQ(state.values.size(), parsed->parameters.size()) << "seed " << seed;
  }
  EXPECT_GT(refused, 200u);
}

TEST_F(CheckpointTest, AFileThatIsTooLargeIsNotReadIn) {
  const fs::path path = folder_.path() / "c.ckpt";
  ASSERT_TRUE(WriteCheckpoint(path, Example(12, 3)).ok());
  fs::resize_file(path, uint64_t{1} << 33);  // sparse
  EXPECT_TRUE(absl::IsOutOfRange(ReadCheckpoint(path, 3).status()));
}

TEST_F(CheckpointTest, TheLastTwoAreKeptAndTheNewestIsFound) {
  EXPECT_FALSE((*checkpoints_.Newest(1000)).has_value()) << "no folder is no checkpoint";
  for (uint64_t steps : {9, 10, 200}) ASSERT_TRUE(checkpoints_.Write(Example(steps)).ok());
  EXPECT_THAT(Names(), ElementsAre("step-0000000010.ckpt", "step-0000000200.ckpt"));
  auto found = checkpoints_.Newest(1000);
  ASSERT_TRUE(found.ok() && found->has_value()) << found.status();
  EXPECT_EQ((*found)->checkpoint.position.steps, 200u);
  EXPECT_TRUE((*found)->passed_over.empty());
}

TEST_F(CheckpointTest, ABadOneIsPassedOverAndItsReasonKept) {
  for (uint64_t steps : {10, 20}) ASSERT_TRUE(checkpoints_.Write(Example(steps)).ok());
  const fs::path newest = checkpoints_.PathOf({.steps = 20});
  fs::resize_file(newest, fs::file_size(newest) - 1);
  std::ofstream(folder_.path() / "checkpoints" / ".atoll-12.tmp") << "half-written";
  auto found = checkpoints_.Newest(1000);
  ASSERT_TRUE(found.ok() && found->has_value()) << found.status();
  EXPECT_EQ((*found)->checkpoint.position.steps, 10u);
  ASSERT_EQ((*found)->passed_over.size(), 1u);
  EXPECT_THAT((*found)->passed_over[0], HasSubstr("step-0000000020.ckpt: is cut off or changed"));
  EXPECT_THAT(Names(), ElementsAre("step-0000000010.ckpt", "step-0000000020.ckpt"));
  // The run goes on from 10 and is at 15 now: that and 10 are the good ones.
  ASSERT_TRUE(checkpoints_.Write(Example(15)).ok());
  EXPECT_THAT(Names(), ElementsAre("step-0000000010.ckpt", "step-0000000015.ckpt"));
}

TEST_F(CheckpointTest, NoneThatIsGoodIsAnError) {
  ASSERT_TRUE(checkpoints_.Write(Example(10)).ok());
  std::ofstream(checkpoints_.PathOf({.steps = 10}))
      << "not a checkpoint, but long enough to be taken for one at first";
  auto found = checkpoints_.Newest(1000);
  EXPECT_TRUE(absl::IsDataLoss(found.status())) << found.status();
  EXPECT_THAT(std::string(found.status().message()), HasSubstr("is no checkpoint of this version"));
}

TEST_F(CheckpointTest, TheWriterWritesInTheBackgroundAndUsesItsBuffersAgain) {
  CheckpointWriter writer(checkpoints_);
  const float* buffer = nullptr;
  for (uint64_t steps = 1; steps <= 5; ++steps) {
    auto taken = writer.Take();
    ASSERT_TRUE(taken.ok()) << taken.status();
    if (steps > 1) {
      EXPECT_EQ(taken->parameters.data(), buffer);
      EXPECT_EQ(taken->position.steps, steps - 1);
    }
    Checkpoint next = steps > 1 ? *std::move(taken) : Example(0);
    next.position.steps = steps;
    buffer = next.parameters.data();
    writer.Start(std::move(next));
  }
  ASSERT_TRUE(writer.Wait().ok());
  EXPECT_EQ(writer.last_good(), checkpoints_.PathOf({.steps = 5}).string());
  EXPECT_THAT(Names(), ElementsAre("step-0000000004.ckpt", "step-0000000005.ckpt"));
}

TEST_F(CheckpointTest, AFullDiskIsAnErrorThatLeavesWhatWasThere) {
  ASSERT_TRUE(checkpoints_.Write(Example(10)).ok());
  // As a full disk does, a limit on files' sizes ends a write in its middle.
  struct rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {4096, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  {
    CheckpointWriter writer(checkpoints_);
    ASSERT_TRUE(writer.Take().ok());
    writer.Start(Example(20));
    const absl::Status status = writer.Wait();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr("step-0000000020.ckpt: cannot write"));
    EXPECT_EQ(writer.Take().status(), status) << "it is said again";
    EXPECT_EQ(writer.last_good(), "");
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(Names(), ElementsAre("step-0000000010.ckpt"));
  EXPECT_EQ((*checkpoints_.Newest(1000))->checkpoint.position.steps, 10u);
}

TEST(SameTrainingTest, NamesTheKeysThatDiffer) {
  recipes::Recipe recipe;
  recipe.name = "x";
  recipe.run = "y";
  recipe.secure_aggregation.enabled = false;
  const std::string yaml = recipes::ToYaml(recipe);
  EXPECT_TRUE(SameTraining(recipe, yaml, true).ok());
  recipes::Recipe other = recipe;
  other.train.checkpoint_steps = 50;
  other.output_folder = "elsewhere";
  other.site.ranks = 3;
  EXPECT_TRUE(SameTraining(other, yaml, true).ok()) << SameTraining(other, yaml, true);
  other.train.batch_size = 32;
  other.train.optimizer.lr = 0.125;
  const absl::Status status = SameTraining(other, yaml, true);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("train.batch_size is 32, not 64"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("train.optimizer.lr is 0.125, not 0.05"));
  // Another number of ranks may make up its global batch in another way, and no more.
  const absl::Status ranks = SameTraining(other, yaml, false);
  EXPECT_THAT(std::string(ranks.message()), Not(HasSubstr("train.batch_size")));
  EXPECT_THAT(std::string(ranks.message()), HasSubstr("train.optimizer.lr"));
  EXPECT_TRUE(absl::IsInvalidArgument(SameTraining(recipe, "nonsense: [", true)));
}

}  // namespace
}  // namespace atl::trainer

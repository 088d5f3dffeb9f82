// What ranks exchange for a checkpoint, with ranks as threads.
#include "trainer/checkpoint/checkpointer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <thread>

#include "comms/base/files.h"
#include "comms/base/random.h"
#include "comms/collectives/local/local_communicator.h"
#include "trainer/optim/clip.h"

namespace atl::trainer {
namespace {

using ::testing::HasSubstr;

void OnRanks(uint32_t ranks, const std::function<void(Communicator&)>& body) {
  auto communicators = MakeLocalCommunicators({.ranks = ranks});
  std::vector<std::thread> threads;
  for (auto& communicator : communicators)
    threads.emplace_back([&body, mine = std::move(communicator)] { body(*mine); });
  for (auto& thread : threads) thread.join();
}

// Shards of three buckets, as a reducer that scatters has them; some are empty.
Ownership Buckets(uint64_t total, uint32_t ranks) {
  Ownership out(ranks);
  const std::vector<uint64_t> borders = {0, total / 7, total / 2, total};
  for (size_t i = 0; i + 1 < borders.size(); ++i) {
    for (uint32_t rank = 0; rank < ranks; ++rank) {
      const Shard shard = ShardOf(borders[i + 1] - borders[i], rank, ranks);
      out[rank].push_back({borders[i] + shard.first, borders[i] + shard.last});
    }
  }
  return out;
}

std::vector<float> Values(uint64_t count, uint64_t seed) {
  SeededRandom random({.seed = seed, .label = "values"});
  std::vector<float> out(count);
  for (float& value : out) value = static_cast<float>(random.Normal());
  return out;
}

std::vector<float> OwnPart(const std::vector<float>& all, const std::vector<Shard>& owned) {
  std::vector<float> out;
  for (const Shard& part : owned)
    out.insert(out.end(), all.begin() + static_cast<std::ptrdiff_t>(part.first),
               all.begin() + static_cast<std::ptrdiff_t>(part.last));
  return out;
}

TEST(SpreadTest, WhatEachOwnsComesTogetherAndApart) {
  for (uint32_t ranks : {1u, 2u, 3u, 5u}) {
    for (uint64_t total : {1, 40, 1000}) {
      const std::vector<float> all = Values(total, total);
      const Ownership ownership = Buckets(total, ranks);
      OnRanks(ranks, [&](Communicator& communicator) {
        const auto& owned = ownership[communicator.rank()];
        const std::vector<float> mine = OwnPart(all, owned);
        std::vector<float> collected;
        ASSERT_TRUE(CollectOwned(mine, ownership, total, communicator, collected).ok());
        if (communicator.rank() == 0) {
          EXPECT_EQ(collected, all) << ranks << " ranks, " << total << " values";
        }
        std::vector<float> back(mine.size());
        ASSERT_TRUE(SpreadOwned(collected, owned, total, communicator, back).ok());
        EXPECT_EQ(back, mine) << ranks << " ranks, " << total << " values";
      });
    }
  }
}

TEST(ClipOverRanksTest, EachOwnPartGivesTheBitsOfTheWhole) {
  const std::vector<float> gradient = Values(5000, 9);
  for (uint32_t ranks : {1u, 2u, 3u, 7u}) {
    const Ownership owned = Buckets(gradient.size(), ranks);
    OnRanks(ranks, [&](Communicator& communicator) {
      // Where it does not own the gradient, a rank has anything.
      std::vector<float> mine(gradient.size(), NAN);
      for (const Shard& part : owned[communicator.rank()])
        std::copy(gradient.begin() + static_cast<std::ptrdiff_t>(part.first),
                  gradient.begin() + static_cast<std::ptrdiff_t>(part.last),
                  mine.begin() + static_cast<std::ptrdiff_t>(part.first));
      auto sum = SumOfSquaresOverRanks(mine, owned, communicator);
      ASSERT_TRUE(sum.ok()) << sum.status();
      EXPECT_EQ(*sum, SumOfSquares(gradient, owned)) << ranks << " ranks";
    });
  }
}

class CheckpointerTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kParameters = 300, kExamples = 1000;
  CheckpointerTest() {
    recipe_.name = "x";
    recipe_.run = "y";
    recipe_.secure_aggregation.enabled = false;
    recipe_.train.optimizer.kind = recipes::OptimizerKind::kAdam;
    recipe_.train.local_epochs = 5;
  }
  Ownership Owners(uint32_t ranks, bool sharded) const {
    return sharded ? Buckets(kParameters, ranks) : Ownership(ranks, {Shard{0, kParameters}});
  }
  // All ranks save a state in which every value tells where it is from.
  void Save(uint32_t ranks, bool sharded) {
    const Ownership owners = Owners(ranks, sharded);
    OnRanks(ranks, [&](Communicator& communicator) {
      const uint32_t rank = communicator.rank();
      std::vector<float> parameters = Values(kParameters, 1);
      LocalOptimizer optimizer(recipe_.train.optimizer, owners[rank]);
      for (size_t i = 0; i < optimizer.state().size(); ++i)
        optimizer.state()[i].values = OwnPart(Values(kParameters, 2 + i), owners[rank]);
      Checkpointer checkpointer(recipe_, kExamples, folder_.path(), communicator);
      const Metrics mine = {.examples = rank + 1, .correct = rank, .loss_sum = 0.5 * rank};
      ASSERT_TRUE(checkpointer
                      .Save({.position = {.epoch = 2, .examples = 480, .steps = 77},
                             .epoch_so_far = mine,
                             .parameters = parameters,
                             .optimizer = optimizer,
                             .ownership = owners})
                      .ok());
      ASSERT_TRUE(checkpointer.Finish().ok());
    });
  }
  // Every rank gets what is its own.
  void ExpectRestored(uint32_t ranks, bool sharded, bool same_ranks) {
    const Ownership owners = Owners(ranks, sharded);
    std::vector<Metrics> metrics(ranks);
    OnRanks(ranks, [&](Communicator& communicator) {
      const uint32_t rank = communicator.rank();
      std::vector<float> parameters(kParameters);
      LocalOptimizer optimizer(recipe_.train.optimizer, owners[rank]);
      Checkpointer checkpointer(recipe_, kExamples, folder_.path(), communicator);
      const absl::Status loaded = checkpointer.Load(kParameters);
      ASSERT_TRUE(loaded.ok()) << loaded;
      EXPECT_EQ(checkpointer.epochs_done(), 2u);
      TrainingState state{.position = {},
                          .epoch_so_far = {},
                          .parameters = parameters,
                          .optimizer = optimizer,
                          .ownership = owners};
      ASSERT_TRUE(checkpointer.Restore(state).ok());
      EXPECT_EQ(state.position, (Position{.epoch = 2, .examples = 480, .steps = 77}));
      EXPECT_EQ(optimizer.steps(), 77u);
      EXPECT_EQ(parameters, Values(kParameters, 1));
      for (size_t i = 0; i < optimizer.state().size(); ++i)
        EXPECT_EQ(optimizer.state()[i].values, OwnPart(Values(kParameters, 2 + i), owners[rank]));
      metrics[rank] = state.epoch_so_far;
      if (same_ranks) {
        EXPECT_EQ(metrics[rank],
                  (Metrics{.examples = rank + 1, .correct = rank, .loss_sum = 0.5 * rank}));
      }
    });
    Metrics sum;
    for (const Metrics& m : metrics) sum.examples += m.examples;
    EXPECT_EQ(sum.examples, 6u) << "of three ranks: 1 + 2 + 3";
  }
  absl::Status LoadAlone(uint64_t examples, uint64_t parameters) {
    absl::Status status;
    OnRanks(1, [&](Communicator& communicator) {
      status = Checkpointer(recipe_, examples, folder_.path(), communicator).Load(parameters);
    });
    return status;
  }
  recipes::Recipe recipe_;
  TemporaryFolder folder_ = *TemporaryFolder::Create("atoll-checkpointer");
};

TEST_F(CheckpointerTest, AnyNumberOfRanksGoesOnFromAnyOther) {
  for (bool sharded_before : {false, true}) {
    Save(3, sharded_before);
    for (bool sharded : {false, true}) {
      for (uint32_t ranks : {1u, 2u, 3u, 6u}) {
        SCOPED_TRACE(testing::Message() << ranks << " ranks, sharded " << sharded);
        ExpectRestored(ranks, sharded, ranks == 3);
      }
    }
  }
}

TEST_F(CheckpointerTest, WhatDoesNotFitIsRefused) {
  EXPECT_TRUE(LoadAlone(kExamples, kParameters).ok()) << "there is none yet";
  Save(3, true);
  absl::Status status = LoadAlone(kExamples + 1, kParameters);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("the data set has 1001 examples"));
  status = LoadAlone(kExamples, kParameters + 1);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the model has 301 parameters"));
  recipe_.train.optimizer.beta1 = 0.5;
  status = LoadAlone(kExamples, kParameters);
  EXPECT_THAT(std::string(status.message()), HasSubstr("train.optimizer.beta1 is 0.5, not 0.9"));
}

}  // namespace
}  // namespace atl::trainer

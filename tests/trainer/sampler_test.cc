// Epoch orders: complete, shared out, the same for all ranks.
#include "trainer/data/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

namespace atl::trainer {
namespace {

std::vector<uint32_t> Examples(uint32_t count) {
  std::vector<uint32_t> out(count);
  std::iota(out.begin(), out.end(), 1000);
  return out;
}

SamplerOptions Options(uint32_t rank, uint32_t ranks, uint32_t batch) {
  return {.seed = 5,
          .round = 2,
          .epoch = 1,
          .site = 3,
          .rank = rank,
          .ranks = ranks,
          .batch_size = batch};
}

TEST(SamplerTest, RanksShareEveryExampleOnceInTheSameNumberOfSteps) {
  for (uint32_t count : {1u, 7u, 64u, 100u, 257u}) {
    for (uint32_t ranks : {1u, 2u, 3u, 5u}) {
      for (uint32_t batch : {1u, 4u, 32u}) {
        SCOPED_TRACE(testing::Message()
                     << count << " examples, " << ranks << " ranks, batch " << batch);
        const auto examples = Examples(count);
        std::map<uint32_t, int> used;
        const uint32_t steps = EpochSampler(examples, Options(0, ranks, batch)).steps();
        EXPECT_EQ(steps, (count + ranks * batch - 1) / (ranks * batch));
        for (uint32_t rank = 0; rank < ranks; ++rank) {
          EpochSampler sampler(examples, Options(rank, ranks, batch));
          ASSERT_EQ(sampler.steps(), steps);
          for (uint32_t step = 0; step < steps; ++step) {
            EXPECT_LE(sampler.batch(step).size(), batch);
            if (step + 1 < steps) {
              EXPECT_EQ(sampler.batch(step).size(), batch);
            }
            for (uint32_t example : sampler.batch(step)) ++used[example];
          }
        }
        EXPECT_EQ(used.size(), count);
        for (auto [example, times] : used) EXPECT_EQ(times, 1) << example;
      }
    }
  }
}

TEST(SamplerTest, GoesOnWhereAnyNumberOfRanksStopped) {
  const auto examples = Examples(103);
  std::vector<uint32_t> order;
  EpochSampler whole(examples, Options(0, 1, 8));
  for (uint32_t step = 0; step < whole.steps(); ++step)
    order.insert(order.end(), whole.batch(step).begin(), whole.batch(step).end());
  for (uint64_t done : {0, 24, 96, 103}) {
    for (uint32_t ranks : {1u, 2u, 3u}) {
      std::vector<uint32_t> rest;
      SamplerOptions options = Options(0, ranks, 5);
      options.done = done;
      const uint32_t steps = EpochSampler(examples, options).steps();
      EXPECT_EQ(steps, (103 - done + ranks * 5 - 1) / (ranks * 5));
      for (uint32_t step = 0; step < steps; ++step) {
        for (options.rank = 0; options.rank < ranks; ++options.rank) {
          const EpochSampler sampler(examples, options);
          rest.insert(rest.end(), sampler.batch(step).begin(), sampler.batch(step).end());
        }
      }
      EXPECT_TRUE(std::equal(rest.begin(), rest.end(), order.begin() + static_cast<long>(done),
                             order.end()))
          << done << " done, " << ranks << " ranks";
    }
  }
}

TEST(SamplerTest, TheGlobalBatchDoesNotDependOnTheNumberOfRanks) {
  const auto examples = Examples(103);
  EpochSampler one(examples, Options(0, 1, 24));
  for (uint32_t ranks : {2u, 3u, 4u}) {
    for (uint32_t step = 0; step < one.steps(); ++step) {
      std::vector<uint32_t> joined;
      for (uint32_t rank = 0; rank < ranks; ++rank) {
        EpochSampler sampler(examples, Options(rank, ranks, 24 / ranks));
        EXPECT_EQ(sampler.global_batch(step), one.global_batch(step));
        auto part = sampler.batch(step);
        joined.insert(joined.end(), part.begin(), part.end());
      }
      EXPECT_TRUE(
          std::equal(joined.begin(), joined.end(), one.batch(step).begin(), one.batch(step).end()));
    }
  }
}

TEST(SamplerTest, SeedRoundEpochAndSiteEachChangeTheOrderAndNothingElseDoes) {
  const auto examples = Examples(200);
  auto order = [&](SamplerOptions options) {
    EpochSampler sampler(examples, options);
    auto batch = sampler.batch(0);
    return std::vector<uint32_t>(batch.begin(), batch.end());
  };
  const SamplerOptions base = Options(0, 1, 200);
  EXPECT_EQ(order(base), order(base));
  for (auto change :
       {+[](SamplerOptions& o) { ++o.seed; }, +[](SamplerOptions& o) { ++o.round; },
        +[](SamplerOptions& o) { ++o.epoch; }, +[](SamplerOptions& o) { ++o.site; }}) {
    SamplerOptions other = base;
    change(other);
    EXPECT_NE(order(other), order(base));
  }
}

TEST(SamplerTest, PartsCoverTheWholeAlsoForHugeCounts) {
  for (uint64_t count : {uint64_t{0}, uint64_t{5}, uint64_t{1} << 40, ~uint64_t{0}}) {
    uint64_t next = 0;
    for (uint32_t rank = 0; rank < 7; ++rank) {
      Range part = PartOf(count, rank, 7);
      EXPECT_EQ(part.first, next);
      EXPECT_GE(part.last, part.first);
      next = part.last;
    }
    EXPECT_EQ(next, count);
  }
}

}  // namespace
}  // namespace atl::trainer

// Optimisers over flat values, schedules and clipping, without torch.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "comms/base/random.h"
#include "trainer/optim/clip.h"
#include "trainer/optim/optimizer.h"
#include "trainer/optim/schedule.h"

namespace atl::trainer {
namespace {

using recipes::OptimizerKind;
using recipes::ScheduleKind;

std::vector<float> Values(uint64_t count, uint64_t seed) {
  SeededRandom random({.seed = seed, .label = "optim"});
  std::vector<float> out(count);
  for (float& value : out) value = static_cast<float>(random.Normal());
  return out;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// One element in double, as the papers have it.
struct Reference {
  recipes::Optimizer o;
  double a = 0, b = 0;
  double Step(double p, double g, double lr, int step) {
    if (o.kind == OptimizerKind::kSgd) {
      a = o.momentum * a + g + o.weight_decay * p;
      return p - lr * a;
    }
    if (o.kind == OptimizerKind::kAdam) g += o.weight_decay * p;
    if (o.kind == OptimizerKind::kAdamW) p *= 1 - lr * o.weight_decay;
    a = o.beta1 * a + (1 - o.beta1) * g;
    b = o.beta2 * b + (1 - o.beta2) * g * g;
    const double mean = a / (1 - std::pow(o.beta1, step));
    const double square = b / (1 - std::pow(o.beta2, step));
    return p - lr * mean / (std::sqrt(square) + o.epsilon);
  }
};

std::vector<recipes::Optimizer> AllKinds() {
  std::vector<recipes::Optimizer> all;
  for (auto kind : {OptimizerKind::kSgd, OptimizerKind::kAdam, OptimizerKind::kAdamW}) {
    for (double momentum : {0.0, 0.9}) {
      recipes::Optimizer options;
      options.kind = kind;
      options.momentum = momentum;
      options.weight_decay = 0.01;
      all.push_back(options);
    }
  }
  return all;
}

TEST(LocalOptimizerTest, TakesTheStepsOfThePapers) {
  constexpr uint64_t kCount = 37;
  for (const recipes::Optimizer& options : AllKinds()) {
    SCOPED_TRACE(recipes::ToString(options.kind));
    std::vector<float> parameters = Values(kCount, 1);
    std::vector<double> expected(parameters.begin(), parameters.end());
    std::vector<Reference> references(kCount, Reference{options});
    LocalOptimizer optimizer(options, {{0, kCount}});
    for (int step = 1; step <= 5; ++step) {
      const std::vector<float> gradient = Values(kCount, 10 + static_cast<uint64_t>(step));
      const double lr = 0.01 * step;
      optimizer.Step({.lr = lr, .gradient_scale = 0.5f}, parameters, gradient);
      for (uint64_t i = 0; i < kCount; ++i) {
        expected[i] = references[i].Step(expected[i], 0.5 * gradient[i], lr, step);
        ASSERT_NEAR(parameters[i], expected[i], 2e-6) << "element " << i << ", step " << step;
      }
    }
    EXPECT_EQ(optimizer.steps(), 5u);
  }
}

TEST(LocalOptimizerTest, SharesComeToTheBitsOfTheWhole) {
  constexpr uint64_t kCount = 1003;
  for (const recipes::Optimizer& options : AllKinds()) {
    std::vector<float> whole = Values(kCount, 2), shared = whole;
    LocalOptimizer one(options, {{0, kCount}});
    std::vector<LocalOptimizer> parts;
    parts.emplace_back(options, std::vector<Shard>{{0, 16}, {400, 401}, {401, 800}});
    parts.emplace_back(options, std::vector<Shard>{{16, 400}, {800, 800}, {800, kCount}});
    for (uint64_t step = 0; step < 3; ++step) {
      const std::vector<float> gradient = Values(kCount, 20 + step);
      const StepOptions how = {.lr = 0.1, .gradient_scale = 0.25f};
      one.Step(how, whole, gradient);
      for (LocalOptimizer& part : parts) part.Step(how, shared, gradient);
      ASSERT_TRUE(SameBits(whole, shared)) << recipes::ToString(options.kind);
    }
  }
}

TEST(LocalOptimizerTest, StateThatIsCarriedOverContinuesTheRun) {
  constexpr uint64_t kCount = 50;
  for (const recipes::Optimizer& options : AllKinds()) {
    std::vector<float> a = Values(kCount, 3), b;
    LocalOptimizer first(options, {{0, kCount}}), second(options, {{0, kCount}});
    first.Step({.lr = 0.1}, a, Values(kCount, 30));
    b = a;
    second.set_steps(first.steps());
    ASSERT_EQ(second.state().size(), first.state().size());
    for (size_t i = 0; i < first.state().size(); ++i) {
      EXPECT_EQ(second.state()[i].name, first.state()[i].name);
      second.state()[i].values = first.state()[i].values;
    }
    first.Step({.lr = 0.1}, a, Values(kCount, 31));
    second.Step({.lr = 0.1}, b, Values(kCount, 31));
    EXPECT_TRUE(SameBits(a, b)) << recipes::ToString(options.kind);
  }
}

TEST(ScheduleTest, RisesThenFallsAsItsKindSays) {
  recipes::Schedule constant;
  for (double at : {0.0, 0.3, 1.0}) EXPECT_EQ(LearningRateFactor(constant, at), 1.0);

  recipes::Schedule linear{.kind = ScheduleKind::kLinear, .warmup = 0.2, .final_share = 0.1};
  EXPECT_EQ(LearningRateFactor(linear, 0.0), 0.0);
  EXPECT_DOUBLE_EQ(LearningRateFactor(linear, 0.1), 0.5);
  EXPECT_DOUBLE_EQ(LearningRateFactor(linear, 0.2), 1.0);
  EXPECT_DOUBLE_EQ(LearningRateFactor(linear, 0.6), 0.55);
  EXPECT_DOUBLE_EQ(LearningRateFactor(linear, 1.0), 0.1);

  recipes::Schedule cosine{.kind = ScheduleKind::kCosine, .warmup = 0.0, .final_share = 0.0};
  EXPECT_DOUBLE_EQ(LearningRateFactor(cosine, 0.0), 1.0);
  EXPECT_NEAR(LearningRateFactor(cosine, 0.25), 0.5 + std::sqrt(0.125), 1e-12);
  EXPECT_NEAR(LearningRateFactor(cosine, 1.0), 0.0, 1e-12);
  double last = 2;
  for (double at = 0; at <= 1; at += 0.01) {
    const double factor = LearningRateFactor(cosine, at);
    EXPECT_LE(factor, last);
    last = factor;
  }
  // What rounding may make of a progress is no reason for a negative rate.
  EXPECT_EQ(LearningRateFactor(cosine, 1.0000001), LearningRateFactor(cosine, 1.0));
  EXPECT_EQ(LearningRateFactor(linear, -1e-9), 0.0);
}

TEST(ClipTest, TheNormIsThatOfAllAndTheSameBitsBySharesInOrder) {
  const std::vector<float> gradient = Values(1003, 5);
  double naive = 0;
  for (float value : gradient) naive += static_cast<double>(value) * value;
  EXPECT_NEAR(SumOfSquares(gradient), naive, 1e-9);
  const std::vector<std::vector<Shard>> owned = {{{0, 100}, {500, 700}}, {{100, 500}, {700, 1003}}};
  EXPECT_NEAR(SumOfSquares(gradient, owned), naive, 1e-9);

  EXPECT_EQ(ClipScale(10, 0), 1.0f) << "0 is no clipping";
  EXPECT_EQ(ClipScale(0.5, 1), 1.0f);
  EXPECT_EQ(ClipScale(1, 1), 1.0f);
  EXPECT_FLOAT_EQ(ClipScale(4, 1), 0.25f);
}

}  // namespace
}  // namespace atl::trainer

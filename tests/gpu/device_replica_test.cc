// A network on a "device" that is the host: all that the trainer does for a GPU, but the GPU.
#include "trainer/gpu/device_replica.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <mutex>
#include <numeric>

#include "comms/base/random.h"
#include "comms/collectives/local/local_communicator.h"
#include "comms/collectives/nccl/nccl_communicator.h"
#include "tests/collectives/nccl/fake_gpu.h"
#include "tests/collectives/nccl/host_ranks.h"
#include "tests/trainer/noise_images.h"
#include "trainer/loop/evaluate.h"
#include "trainer/loop/train.h"

namespace atl::trainer {
namespace {

using recipes::OptimizerKind;
using testing::FakeGpu;
using testing::Host;
using testing::OnHostRanks;

recipes::Recipe SmallRecipe() {
  recipes::Recipe recipe;
  recipe.model.kind = recipes::ModelKind::kMlp;
  recipe.model.hidden = {16, 12};
  recipe.train.local_epochs = 2;
  recipe.train.optimizer.lr = 0.05;
  return recipe;
}

// Ranks are threads here and share torch's generator: one at a time.
std::unique_ptr<Network> MakeNetwork(const recipes::Recipe& recipe) {
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  return *Network::Create(recipe, DataTraits{});
}

std::vector<recipes::Optimizer> Optimizers() {
  recipes::Optimizer sgd, momentum, adam, adamw;
  sgd.kind = momentum.kind = OptimizerKind::kSgd;
  sgd.momentum = 0;
  sgd.weight_decay = 0.01;
  momentum.momentum = 0.9;
  adam.kind = OptimizerKind::kAdam;
  adam.weight_decay = 0.01;
  adamw.kind = OptimizerKind::kAdamW;
  adamw.weight_decay = 0.1;
  return {sgd, momentum, adam, adamw};
}

TEST(DeviceReplica, StepsAsTheHostsOptimizer) {
  torch::manual_seed(3);
  for (const recipes::Optimizer& options : Optimizers()) {
    auto on_host = MakeNetwork(SmallRecipe()), on_device = MakeNetwork(SmallRecipe());
    const uint64_t count = on_host->values().size();
    // Two ranges that leave some values to others.
    const std::vector<Shard> owned = {{16, count / 3}, {count / 2, count}};
    LocalOptimizer expected(options, owned), optimizer(options, owned);
    const std::vector<float> before(on_host->values().begin(), on_host->values().end());
    {
      DeviceReplica replica(*on_device, options, optimizer, at::kCPU);
      for (int step = 1; step <= 4; ++step) {
        const at::Tensor gradient = torch::randn({static_cast<int64_t>(count)});
        const StepOptions how = {.lr = 0.01 / step, .gradient_scale = 0.5f};
        expected.Step(how, on_host->values(), {gradient.data_ptr<float>(), count});
        replica.Step(how, gradient);
        // The sum of squares is over the owned values alone.
        double squares = 0;
        for (const Shard& part : owned) {
          for (uint64_t i = part.first; i < part.last; ++i) {
            const double g = gradient.data_ptr<float>()[i];
            squares += g * g;
          }
        }
        EXPECT_NEAR(replica.SumOfSquares(gradient), squares, 1e-9 * squares);
      }
      EXPECT_TRUE(std::equal(before.begin(), before.end(), on_device->values().begin()))
          << "the host's are behind";
      replica.Download();
    }
    EXPECT_TRUE(torch::allclose(on_device->flat(), on_host->flat(), 1e-5, 1e-6));
    EXPECT_FALSE(std::equal(before.begin(), before.end(), on_device->values().begin()));
    EXPECT_EQ(optimizer.steps(), 4u);
    ASSERT_EQ(optimizer.state().size(), expected.state().size());
    for (size_t i = 0; i < optimizer.state().size(); ++i) {
      for (size_t j = 0; j < optimizer.state()[i].values.size(); ++j) {
        const float want = expected.state()[i].values[j];
        ASSERT_NEAR(optimizer.state()[i].values[j], want, 1e-6 + 1e-5 * std::abs(want));
      }
    }
  }
}

TEST(DeviceReplica, TheNetworkComputesWithItsValuesWhileItLives) {
  const recipes::Optimizer options = Optimizers()[1];
  auto network = MakeNetwork(SmallRecipe());
  LocalOptimizer optimizer(options, {{0, network->values().size()}});
  const Batch batch = {.examples = 2, .inputs = torch::ones({2, 1, 28, 28})};
  torch::NoGradGuard no_grad;
  const at::Tensor before = network->Forward(batch).clone();
  {
    DeviceReplica replica(*network, options, optimizer, at::kCPU);
    EXPECT_TRUE(torch::equal(network->Forward(batch), before));
    EXPECT_EQ(network->parameters()[0].data_ptr<float>(), replica.values().data());
    EXPECT_TRUE(network->parameters()[0].requires_grad());
    std::fill(network->values().begin(), network->values().end(), 0.5f);  // a checkpoint was read
    EXPECT_TRUE(torch::equal(network->Forward(batch), before)) << "not before Upload";
    replica.Upload();
    EXPECT_FALSE(torch::equal(network->Forward(batch), before));
  }
  EXPECT_EQ(network->parameters()[0].data_ptr<float>(), network->values().data());
  EXPECT_FALSE(torch::equal(network->Forward(batch), before));
}

struct Trained {
  std::vector<float> values;
  Metrics metrics;
};

Trained Train(const recipes::Recipe& recipe, const Dataset& data, Communicator& communicator) {
  auto network = MakeNetwork(recipe);
  std::vector<uint32_t> examples(data.size());
  std::iota(examples.begin(), examples.end(), 0);
  const TrainJob job = {.options = &recipe.train, .data = &data, .examples = examples};
  uint32_t epochs = 0;
  LoopHooks hooks;
  hooks.epoch_done = [&](uint32_t, const Metrics&) -> absl::Status {
    ++epochs;
    return Evaluate(*network, data, recipe.site.precision, communicator, {}).status();
  };
  const auto metrics = TrainLocally(*network, job, communicator, hooks);
  EXPECT_TRUE(metrics.ok()) << metrics.status();
  EXPECT_EQ(epochs, 2u);
  if (!metrics.ok()) return {};
  return {{network->values().begin(), network->values().end()}, *metrics};
}

TEST(TrainLocally, OnADeviceAsOnTheHost) {
  const auto data = NoiseImages(90);
  for (const bool sharded : {false, true}) {
    for (const recipes::Optimizer& options : Optimizers()) {
      recipes::Recipe recipe = SmallRecipe();
      recipe.train.optimizer = options;
      recipe.train.optimizer.lr = 0.01;
      recipe.train.optimizer.sharded = sharded;
      recipe.train.max_grad_norm = 0.7;
      recipe.train.bucket_mb = 0.01;  // several buckets
      recipe.train.batch_size = 16;
      const auto alone = MakeLocalCommunicators({.ranks = 1});
      const Trained expected = Train(recipe, *data, *alone[0]);
      recipe.train.batch_size = 8;
      OnHostRanks(2, [&](uint32_t rank, Host& host) {
        FakeGpu gpu;
        auto nccl = CreateNcclCommunicator(FakeGpu::Api(), host, {});
        ASSERT_TRUE(nccl.ok()) << nccl.status();
        const Trained got = Train(recipe, *data, **nccl);
        ASSERT_EQ(got.values.size(), expected.values.size());
        for (size_t i = 0; i < got.values.size(); ++i) {
          ASSERT_NEAR(got.values[i], expected.values[i], 2e-5) << i;
        }
        EXPECT_EQ(got.metrics.examples, 90u);
        EXPECT_NEAR(got.metrics.loss_sum, expected.metrics.loss_sum, 1e-2);
        EXPECT_GT(gpu.Calls("ncclAllReduce"), 0);
        EXPECT_EQ(gpu.Calls("ncclBroadcast") + gpu.Calls("ncclAllGather") > 0, sharded);
      });
    }
  }
}

}  // namespace
}  // namespace atl::trainer

// What needs torch but no second process: networks, optimisers, gradient buckets, local training.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstring>
#include <deque>
#include <numeric>

#include "comms/base/random.h"
#include "tests/trainer/noise_images.h"
#include "trainer/loop/evaluate.h"
#include "trainer/loop/train.h"
#include "trainer/model/network.h"
#include "trainer/optim/optimizer.h"
#include "trainer/parallel/gradient_reducer.h"
#include "trainer/torch_status.h"

namespace atl::trainer {
namespace {

using ::testing::HasSubstr;

// `size` ranks that all hold the same: a sum multiplies.
class MirrorCommunicator : public Communicator {
 public:
  explicit MirrorCommunicator(uint32_t size) : size_(size) {}
  uint32_t rank() const override { return 0; }
  uint32_t size() const override { return size_; }
  uint32_t local_size() const override { return size_; }
  std::string name() const override { return "mirror"; }
  absl::StatusOr<std::span<float>> Allocate(uint64_t count) override {
    return std::span(buffers_.emplace_back(count, 0.0f));
  }
  absl::StatusOr<std::unique_ptr<Work>> StartReduceScatterSum(std::span<float> values) override {
    return StartAllReduceSum(values);
  }
  absl::StatusOr<std::unique_ptr<Work>> StartAllGather(std::span<float>) override {
    return std::make_unique<Done>();
  }
  absl::StatusOr<std::unique_ptr<Work>> StartAllReduceSum(std::span<float> values) override {
    started.push_back({values.data(), values.size()});
    for (float& value : values) value *= static_cast<float>(size_);
    return std::make_unique<Done>();
  }
  absl::Status AllReduceSum(std::span<double> values) override {
    for (double& value : values) value *= size_;
    return absl::OkStatus();
  }
  absl::Status Broadcast(std::span<uint8_t>) override { return absl::OkStatus(); }
  absl::StatusOr<Bytes> Gather(ByteView mine, uint64_t) override {
    return Bytes(mine.begin(), mine.end());
  }
  absl::Status Barrier() override { return absl::OkStatus(); }

  std::vector<std::pair<const float*, size_t>> started;

 private:
  struct Done : Work {
    bool Test() override { return true; }
    absl::Status Wait() override { return absl::OkStatus(); }
  };
  const uint32_t size_;
  std::deque<std::vector<float>> buffers_;
};

std::unique_ptr<Network> MakeNetwork(recipes::Model model = {}, uint64_t seed = 1) {
  recipes::Recipe recipe;
  recipe.model = model;
  recipe.train.seed = seed;
  return *Network::Create(recipe, DataTraits{});
}

recipes::Model SmallMlp() {
  recipes::Model model;
  model.kind = recipes::ModelKind::kMlp;
  model.hidden = {16, 12};
  return model;
}

TEST(NetworkTest, ParametersAreViewsOfOneBufferAndInitIsDeterministic) {
  for (recipes::Model model : {recipes::Model{}, SmallMlp()}) {
    auto network = MakeNetwork(model);
    size_t offset = 0;
    for (size_t i = 0; i < network->parameters().size(); ++i) {
      EXPECT_EQ(network->parameters()[i].data_ptr<float>(), network->values().data() + offset);
      EXPECT_TRUE(network->parameters()[i].is_leaf());
      offset += network->tensors()[i].elements;
    }
    EXPECT_EQ(offset, network->values().size());
    EXPECT_EQ(network->Forward({.inputs = torch::zeros({3, 1, 28, 28})}).sizes(),
              (std::vector<int64_t>{3, 10}));
    auto same = MakeNetwork(model), other = MakeNetwork(model, 2);
    EXPECT_TRUE(torch::equal(network->flat(), same->flat()));
    EXPECT_FALSE(torch::equal(network->flat(), other->flat()));
    EXPECT_LT(network->flat().abs().max().item<float>(), 0.41);
  }
}

TEST(NetworkTest, ComputesWhatTorchsOwnModulesDo) {
  auto network = MakeNetwork();
  torch::nn::Sequential reference(
      torch::nn::Conv2d(1, 6, 5), torch::nn::ReLU(), torch::nn::MaxPool2d(2),
      torch::nn::Conv2d(6, 16, 5), torch::nn::ReLU(), torch::nn::MaxPool2d(2), torch::nn::Flatten(),
      torch::nn::Linear(256, 120), torch::nn::ReLU(), torch::nn::Linear(120, 84), torch::nn::ReLU(),
      torch::nn::Linear(84, 10));
  torch::NoGradGuard no_grad;
  auto parameters = reference->parameters();
  ASSERT_EQ(parameters.size(), network->parameters().size());
  for (size_t i = 0; i < parameters.size(); ++i) parameters[i].copy_(network->parameters()[i]);
  auto images = torch::randn({4, 1, 28, 28});
  EXPECT_TRUE(torch::allclose(network->Forward({.inputs = images}), reference->forward(images),
                              1e-5, 1e-6));
}

TEST(OptimizerTest, StepsAsTorchsOptimizersDo) {
  constexpr int64_t kCount = 1003;
  struct Case {
    recipes::OptimizerKind kind;
    double momentum, weight_decay;
  };
  for (const Case& c :
       {Case{recipes::OptimizerKind::kSgd, 0, 0}, Case{recipes::OptimizerKind::kSgd, 0.9, 0},
        Case{recipes::OptimizerKind::kSgd, 0.9, 0.01}, Case{recipes::OptimizerKind::kAdam, 0, 0},
        Case{recipes::OptimizerKind::kAdam, 0, 0.01},
        Case{recipes::OptimizerKind::kAdamW, 0, 0.01}}) {
    recipes::Optimizer options;
    options.kind = c.kind;
    options.momentum = c.momentum;
    options.weight_decay = c.weight_decay;
    torch::manual_seed(7);
    auto ours = torch::randn({kCount});
    auto theirs = ours.clone().requires_grad_(true);
    LocalOptimizer optimizer(options, {{0, kCount}});
    std::unique_ptr<torch::optim::Optimizer> reference;
    std::vector<at::Tensor> parameters = {theirs};
    if (c.kind == recipes::OptimizerKind::kSgd) {
      reference = std::make_unique<torch::optim::SGD>(
          parameters,
          torch::optim::SGDOptions(0.01).momentum(c.momentum).weight_decay(c.weight_decay));
    } else if (c.kind == recipes::OptimizerKind::kAdam) {
      reference = std::make_unique<torch::optim::Adam>(
          parameters, torch::optim::AdamOptions(0.01).weight_decay(c.weight_decay));
    } else {
      reference = std::make_unique<torch::optim::AdamW>(
          parameters, torch::optim::AdamWOptions(0.01).weight_decay(c.weight_decay));
    }
    for (int step = 1; step <= 20; ++step) {
      auto gradient = torch::randn({kCount});
      optimizer.Step({.lr = 0.01}, {ours.data_ptr<float>(), kCount},
                     {gradient.data_ptr<float>(), kCount});
      theirs.mutable_grad() = gradient;
      reference->step();
      torch::NoGradGuard no_grad;
      ASSERT_TRUE(torch::allclose(ours, theirs, 1e-6, 1e-6))
          << recipes::ToString(c.kind) << " step " << step << ": "
          << (ours - theirs).abs().max().item<float>();
    }
  }
}

TEST(GradientReducerTest, BucketsStartFromTheEndWhileTheBackwardPassRuns) {
  auto network = MakeNetwork(SmallMlp());
  MirrorCommunicator ranks(2);
  auto images = torch::randn({5, 1, 28, 28});
  auto expected = torch::autograd::grad({network->Forward({.inputs = images}).pow(2).sum()},
                                        network->parameters());
  GradientReducer reducer(network->parameters(), network->tensors(), ranks, {.bucket_bytes = 200});
  EXPECT_GE(reducer.bucket_count(), 3u);
  for (int step = 0; step < 2; ++step) {
    ranks.started.clear();
    reducer.BeginStep();
    reducer.LastPass(false);
    network->Forward({.inputs = images}).pow(2).sum().backward();
    EXPECT_EQ(ranks.started.size(), reducer.bucket_count())
        << "all gradients are there, so all sums have started";
    ASSERT_TRUE(reducer.FinishStep().ok());
    EXPECT_EQ(reducer.buckets_started_early(), reducer.bucket_count());
    EXPECT_FALSE(reducer.flag_raised());
    // From the end of the buffer to its start, without gaps; the flag is in the first.
    const float* end = reducer.gradient().data_ptr<float>() + reducer.gradient().numel() + 1;
    for (auto [data, size] : ranks.started) {
      EXPECT_EQ(data + size, end);
      end = data;
    }
    EXPECT_EQ(end, reducer.gradient().data_ptr<float>());
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_TRUE(torch::allclose(network->parameters()[i].grad(), expected[i] * 2))
          << network->tensors()[i].name;
    }
  }
}

TEST(GradientReducerTest, ARankWithoutExamplesTakesPartAndFlagsTravel) {
  auto network = MakeNetwork(SmallMlp());
  MirrorCommunicator ranks(3);
  GradientReducer reducer(network->parameters(), network->tensors(), ranks, {.bucket_bytes = 200});
  reducer.BeginStep();
  reducer.LastPass(true);
  ASSERT_TRUE(reducer.FinishStep().ok());
  EXPECT_EQ(ranks.started.size(), reducer.bucket_count());
  EXPECT_EQ(reducer.buckets_started_early(), 0u);
  EXPECT_TRUE(reducer.flag_raised());
  EXPECT_EQ(reducer.gradient().abs().max().item<float>(), 0.0f);
}

class TrainTest : public ::testing::Test {
 protected:
  TrainTest() {
    std::iota(examples_.begin(), examples_.end(), 0);
    options_.batch_size = 16;
    options_.local_epochs = 3;
  }
  TrainJob Job() const {
    return {.options = &options_, .data = images_.get(), .examples = examples_};
  }
  std::unique_ptr<Dataset> images_ = NoiseImages(50);
  std::vector<uint32_t> examples_ = std::vector<uint32_t>(50);
  recipes::Train options_;
  MirrorCommunicator alone_{1};
};

TEST_F(TrainTest, LearnsItsExamplesAndCountsThem) {
  auto network = MakeNetwork(SmallMlp());
  auto before = Evaluate(*network, *images_, recipes::Precision::kFp32, alone_, {});
  ASSERT_TRUE(before.ok());
  EXPECT_EQ(before->examples, 50u);
  options_.local_epochs = 30;
  std::vector<uint32_t> epochs;
  LoopHooks hooks;
  hooks.epoch_done = [&](uint32_t epoch, const Metrics& metrics) {
    epochs.push_back(epoch);
    EXPECT_EQ(metrics.examples, 50u);
    return absl::OkStatus();
  };
  auto metrics = TrainLocally(*network, Job(), alone_, hooks);
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  EXPECT_EQ(epochs.size(), 30u);
  auto after = Evaluate(*network, *images_, recipes::Precision::kFp32, alone_, {});
  EXPECT_LT(after->loss(), before->loss() / 2);
  EXPECT_GT(after->accuracy(), 0.8);
}

TEST_F(TrainTest, RoundAndSeedNameTheOrderAndTheSameGivesTheSameBits) {
  auto run = [&](uint32_t round) {
    auto network = MakeNetwork(SmallMlp());
    TrainJob job = Job();
    job.round = round;
    EXPECT_TRUE(TrainLocally(*network, job, alone_, {}).ok());
    return network->flat().clone();
  };
  at::Tensor first = run(1);
  EXPECT_TRUE(torch::equal(first, run(1)));
  EXPECT_FALSE(torch::equal(first, run(2)));
}

TEST_F(TrainTest, StopsWhenAsked) {
  auto network = MakeNetwork(SmallMlp());
  int asked = 0;
  LoopHooks hooks;
  hooks.stop = [&] { return ++asked == 3; };
  auto metrics = TrainLocally(*network, Job(), alone_, hooks);
  EXPECT_TRUE(absl::IsCancelled(metrics.status())) << metrics.status();
  EXPECT_EQ(asked, 3);
  hooks.stop = [] { return true; };
  EXPECT_TRUE(absl::IsCancelled(
      Evaluate(*network, *images_, recipes::Precision::kFp32, alone_, hooks).status()));
}

TEST_F(TrainTest, TorchsExceptionsBecomeStatuses) {
  auto network = MakeNetwork(SmallMlp());
  examples_[7] = 50;  // of 50
  absl::Status status = TrainLocally(*network, Job(), alone_, {}).status();
  EXPECT_TRUE(absl::IsInternal(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("training: example 50 of 50"));
  status = CatchTorch("adding", [] {
    (void)(torch::zeros({2}) + torch::zeros({3}));
    return absl::OkStatus();
  });
  EXPECT_THAT(std::string(status.message()), HasSubstr("adding: The size of tensor a (2)"));
}

}  // namespace
}  // namespace atl::trainer

// Gradients that are written where they belong and summed over ranks, which are threads here.
#include "trainer/parallel/gradient_reducer.h"

#include <ATen/autocast_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstring>
#include <mutex>
#include <thread>

#include "comms/collectives/local/local_communicator.h"
#include "trainer/model/gradient_place.h"
#include "trainer/model/linear.h"
#include "trainer/model/network.h"

namespace atl::trainer {
namespace {

// The same values each time; ranks share torch's generator.
std::unique_ptr<Network> MakeNetwork(recipes::ModelKind kind) {
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  recipes::Recipe recipe;
  recipe.model.kind = kind;
  if (kind == recipes::ModelKind::kMlp) recipe.model.hidden = {16, 12};
  return *Network::Create(recipe, DataTraits{});
}

at::Tensor Loss(Network& network, const at::Tensor& images) {
  return network.Forward({.inputs = images}).pow(2).sum();
}

void OnRanks(uint32_t ranks, const std::function<void(Communicator&)>& body) {
  auto communicators = MakeLocalCommunicators({.ranks = ranks});
  std::vector<std::thread> threads;
  for (auto& communicator : communicators)
    threads.emplace_back([&body, mine = std::move(communicator)] { body(*mine); });
  for (auto& thread : threads) thread.join();
}

TEST(GradientsTest, AnyRanksAndBucketsGiveTheGradientOfTheWholeBatch) {
  for (auto kind : {recipes::ModelKind::kMlp, recipes::ModelKind::kCnn}) {
    const at::Tensor images =
        torch::randn({12, 1, 28, 28}, at::make_generator<at::CPUGeneratorImpl>(5));
    auto whole = MakeNetwork(kind);
    Loss(*whole, images).backward();
    std::vector<at::Tensor> parts;
    for (const at::Tensor& parameter : whole->parameters())
      parts.push_back(parameter.grad().flatten());
    const at::Tensor expected = torch::cat(parts);
    for (uint32_t ranks : {1u, 2u, 3u}) {
      for (uint64_t bucket_bytes : {4, 300, 4 << 20}) {
        std::vector<at::Tensor> sums(ranks);
        OnRanks(ranks, [&](Communicator& communicator) {
          auto network = MakeNetwork(kind);
          GradientReducer reducer(network->parameters(), network->tensors(), communicator,
                                  {.bucket_bytes = bucket_bytes});
          const int64_t share = 12 / ranks, rank = communicator.rank();
          for (int step = 0; step < 3; ++step) {  // nothing of a step is left in the next
            reducer.BeginStep();
            reducer.LastPass(false);
            Loss(*network, images.narrow(0, rank * share, share)).backward();
            ASSERT_TRUE(reducer.FinishStep().ok());
          }
          EXPECT_FALSE(reducer.flag_raised());
          sums[communicator.rank()] = reducer.gradient().clone();
        });
        EXPECT_TRUE(torch::allclose(sums[0], expected, 1e-4, 1e-4))
            << ranks << " ranks, buckets of " << bucket_bytes;
        for (const at::Tensor& sum : sums) EXPECT_TRUE(torch::equal(sum, sums[0]));
      }
    }
  }
}

TEST(GradientsTest, PassesAddUp) {
  OnRanks(2, [](Communicator& communicator) {
    auto network = MakeNetwork(recipes::ModelKind::kMlp),
         one = MakeNetwork(recipes::ModelKind::kMlp);
    GradientReducer reducer(network->parameters(), network->tensors(), communicator,
                            {.bucket_bytes = 300});
    GradientReducer reference(one->parameters(), one->tensors(), communicator, {});
    const at::Tensor images = torch::randn(
        {6, 1, 28, 28}, at::make_generator<at::CPUGeneratorImpl>(7 + communicator.rank()));
    reducer.BeginStep();
    for (int pass = 0; pass < 3; ++pass) {
      if (pass == 2) reducer.LastPass(communicator.rank() == 1);
      Loss(*network, images.narrow(0, 2 * pass, 2)).backward();
    }
    ASSERT_TRUE(reducer.FinishStep().ok());
    EXPECT_TRUE(reducer.flag_raised());
    reference.BeginStep();
    reference.LastPass(false);
    Loss(*one, images).backward();
    ASSERT_TRUE(reference.FinishStep().ok());
    EXPECT_FALSE(reference.flag_raised());
    EXPECT_TRUE(torch::allclose(reducer.gradient(), reference.gradient(), 1e-4, 1e-5));
  });
}

TEST(GradientsTest, EachRankMayOwnAPart) {
  for (uint64_t bucket_bytes : {4, 1000, 4 << 20}) {
    OnRanks(3, [&](Communicator& communicator) {
      auto network = MakeNetwork(recipes::ModelKind::kMlp),
           same = MakeNetwork(recipes::ModelKind::kMlp);
      GradientReducer whole(same->parameters(), same->tensors(), communicator,
                            {.bucket_bytes = bucket_bytes});
      GradientReducer parts(network->parameters(), network->tensors(), communicator,
                            {.bucket_bytes = bucket_bytes, .scatter = true});
      const at::Tensor images = torch::randn(
          {4, 1, 28, 28}, at::make_generator<at::CPUGeneratorImpl>(communicator.rank()));
      for (GradientReducer* reducer : {&whole, &parts}) {
        reducer->BeginStep();
        reducer->LastPass(communicator.rank() == 0);
        Loss(reducer == &whole ? *same : *network, images).backward();
        ASSERT_TRUE(reducer->FinishStep().ok());
        EXPECT_TRUE(reducer->flag_raised());
      }
      std::vector<int> owners(network->values().size());
      for (uint32_t rank = 0; rank < 3; ++rank) {
        uint64_t after = 0;
        for (const Shard& range : parts.owned(rank)) {
          EXPECT_GE(range.first, after);
          after = range.last;
          for (uint64_t i = range.first; i < range.last; ++i) ++owners[i];
        }
      }
      EXPECT_THAT(owners, ::testing::Each(1));
      auto values = *communicator.Allocate(owners.size());
      for (const Shard& range : parts.owned(communicator.rank())) {
        const float* from = parts.gradient().data_ptr<float>();
        std::copy(from + range.first, from + range.last, values.begin() + range.first);
      }
      ASSERT_TRUE(parts.GatherOwned(values).ok());
      EXPECT_EQ(std::memcmp(values.data(), whole.gradient().data_ptr<float>(), values.size_bytes()),
                0);
      EXPECT_EQ(whole.owned(1), (std::vector<Shard>{{0, owners.size()}}));
    });
  }
}

TEST(GradientsTest, AParameterThatAPassDoesNotReachHasGradientZero) {
  OnRanks(2, [](Communicator& communicator) {
    at::Tensor a = torch::ones({3}).requires_grad_(true), b = torch::ones({3}).requires_grad_(true);
    GradientReducer reducer({a, b}, {{"a", {3}, 0, 3}, {"b", {3}, 3, 3}}, communicator, {});
    for (bool with_b : {true, false}) {
      reducer.BeginStep();
      reducer.LastPass(false);
      (with_b ? (a * b).sum() : a.sum()).backward();
      ASSERT_TRUE(reducer.FinishStep().ok());
      const float of_b = with_b ? 2.0f : 0.0f;
      EXPECT_TRUE(
          torch::equal(reducer.gradient(), torch::tensor({2.f, 2.f, 2.f, of_b, of_b, of_b})));
    }
  });
}

TEST(GradientsTest, TheNextReducerHasTheSameMemory) {
  auto communicators = MakeLocalCommunicators({.ranks = 1});
  const void* first = nullptr;
  for (int round = 0; round < 3; ++round) {
    auto network = MakeNetwork(recipes::ModelKind::kMlp);
    GradientReducer reducer(network->parameters(), network->tensors(), *communicators[0], {});
    const void* memory = reducer.gradient().data_ptr();
    if (round == 0) first = memory;
    EXPECT_EQ(memory, first);
  }
}

// A parameter of its own place, as a reducer's hook has it.
class PlaceHook : public torch::autograd::PostAccumulateGradHook, public GradientPlace {
 public:
  explicit PlaceHook(at::Tensor place) : place_(std::move(place)) {}
  void operator()(const torch::autograd::Variable& parameter) override {
    EXPECT_EQ(parameter.grad().data_ptr(), place_.data_ptr()) << "autograd has copied it";
  }
  PlacedGradient Take() override { return {place_, false}; }

 private:
  at::Tensor place_;
};

TEST(LinearTest, WritesItsWeightsGradientInPlace) {
  for (bool bf16 : {false, true}) {
    at::Tensor weight = torch::randn({40, 30}).requires_grad_(true),
               place = torch::full({40, 30}, 9.f);
    at::Tensor bias = torch::randn({40}).requires_grad_(true);
    at::Tensor x = torch::randn({2, 5, 30}).requires_grad_(true);
    torch::autograd::impl::set_post_acc_grad_hooks(weight, std::make_unique<PlaceHook>(place));
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
    at::autocast::set_autocast_enabled(at::kCPU, bf16);
    const at::Tensor ours = Linear(x, weight, bias);
    at::Tensor w = weight.detach().clone().requires_grad_(true),
               b = bias.detach().clone().requires_grad_(true),
               y = x.detach().clone().requires_grad_(true);
    const at::Tensor torchs = torch::linear(y, w, b);
    at::autocast::set_autocast_enabled(at::kCPU, false);
    at::autocast::clear_cache();
    EXPECT_EQ(ours.scalar_type(), bf16 ? torch::kBFloat16 : torch::kFloat32);
    EXPECT_TRUE(torch::equal(ours, torchs));
    ours.pow(2).sum().backward();
    torchs.pow(2).sum().backward();
    const double tolerance = bf16 ? 0.05 : 1e-4;
    EXPECT_TRUE(torch::allclose(place, w.grad(), tolerance, tolerance * 10));
    EXPECT_TRUE(torch::allclose(bias.grad(), b.grad(), tolerance, tolerance * 10));
    EXPECT_TRUE(torch::allclose(x.grad(), y.grad(), tolerance, tolerance * 10));
    EXPECT_EQ(weight.grad().scalar_type(), torch::kFloat32);
  }
}

TEST(LinearTest, AWeightThatIsUsedTwiceGetsBothGradients) {
  auto communicators = MakeLocalCommunicators({.ranks = 1});
  const at::Tensor x = torch::randn({4, 6}), y = torch::randn({3, 6});
  // The second time by an operation that knows of no place; in both orders.
  const auto loss = [&](const at::Tensor& w, int kind) {
    const at::Tensor first = Linear(x, w, {}).sin().sum();
    const at::Tensor second = (kind == 0 ? Linear(y, w, {}) : y.mm(w.t())).pow(2).sum();
    return kind == 2 ? second + first : first + second;
  };
  for (int kind : {0, 1, 2}) {
    for (int passes : {1, 3}) {
      at::Tensor weight = torch::randn({5, 6}).requires_grad_(true);
      at::Tensor same = weight.detach().clone().requires_grad_(true);
      for (int pass = 0; pass < passes; ++pass) loss(same, kind).backward();
      GradientReducer reducer({weight}, {{"w", {5, 6}, 0, 30}}, *communicators[0], {});
      for (int step = 0; step < 2; ++step) {
        reducer.BeginStep();
        for (int pass = 0; pass < passes; ++pass) {
          if (pass + 1 == passes) reducer.LastPass(false);
          loss(weight, kind).backward();
        }
        ASSERT_TRUE(reducer.FinishStep().ok());
        EXPECT_TRUE(torch::allclose(reducer.gradient().view({5, 6}), same.grad(), 1e-4, 1e-5))
            << kind << " " << passes;
      }
    }
  }
}

TEST(ImageNetTest, GradientsAreThoseOfTorchsOwnModules) {
  auto network = MakeNetwork(recipes::ModelKind::kCnn);
  torch::nn::Sequential reference(
      torch::nn::Conv2d(1, 6, 5), torch::nn::ReLU(), torch::nn::MaxPool2d(2),
      torch::nn::Conv2d(6, 16, 5), torch::nn::ReLU(), torch::nn::MaxPool2d(2), torch::nn::Flatten(),
      torch::nn::Linear(256, 120), torch::nn::ReLU(), torch::nn::Linear(120, 84), torch::nn::ReLU(),
      torch::nn::Linear(84, 10));
  auto parameters = reference->parameters();
  {
    torch::NoGradGuard no_grad;
    for (size_t i = 0; i < parameters.size(); ++i) parameters[i].copy_(network->parameters()[i]);
  }
  const at::Tensor images = torch::randn({5, 1, 28, 28});
  Loss(*network, images).backward();
  reference->forward(images).pow(2).sum().backward();
  for (size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_TRUE(torch::allclose(network->parameters()[i].grad(), parameters[i].grad(), 1e-4, 1e-6))
        << network->tensors()[i].name;
  }
}

}  // namespace
}  // namespace atl::trainer

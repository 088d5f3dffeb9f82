#include "trainer/model/torchscript.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/script.h>
#include <torch/types.h>

#include "comms/base/files.h"
#include "nlohmann/json.hpp"
#include "trainer/model/network.h"

namespace atl::trainer {
namespace {

using ::testing::HasSubstr;

constexpr const char* kForward = "def forward(self, x):\n  return x.flatten(1) @ self.weight\n";

class TorchScriptTest : public ::testing::Test {
 protected:
  TorchScriptTest() {
    recipe_.model.kind = recipes::ModelKind::kTorchScript;
    recipe_.model.file = folder_.path() / "module.pt";
    recipe_.model.classes = 3;
    traits_.image = {.channels = 1, .height = 2, .width = 2};
    batch_.examples = 2;
    batch_.inputs = torch::arange(8, torch::kFloat32).view({2, 1, 2, 2});
    batch_.labels = torch::tensor({0, 2}, torch::kLong);
  }

  torch::jit::Module Module(const std::string& code = kForward) {
    torch::jit::Module module("m");
    module.register_parameter("weight", torch::linspace(-1, 1, 12).view({4, 3}), false);
    module.define(code);
    return module;
  }
  std::unique_ptr<Network> Load(const torch::jit::Module& module) {
    module.save(recipe_.model.file);
    auto network = Network::Create(recipe_, traits_);
    EXPECT_TRUE(network.ok()) << network.status();
    return network.ok() ? std::move(*network) : nullptr;
  }
  std::string Error(const torch::jit::Module& module) {
    module.save(recipe_.model.file);
    return Error();
  }
  std::string Error() {
    absl::Status status = Network::Create(recipe_, traits_).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("module.pt: "));
    return std::string(status.message());
  }

  TemporaryFolder folder_ = *TemporaryFolder::Create("atoll-script");
  recipes::Recipe recipe_;
  DataTraits traits_;
  Batch batch_;
};

TEST_F(TorchScriptTest, TrainsThroughTheFlatBuffer) {
  auto network = Load(Module());
  ASSERT_NE(network, nullptr);
  ASSERT_EQ(network->tensors(), (std::vector<TensorInfo>{{"weight", {4, 3}, 0, 12}}));
  at::Tensor weight = torch::linspace(-1, 1, 12).view({4, 3}).requires_grad_(true);
  at::Tensor logits = batch_.inputs.flatten(1).matmul(weight);
  EXPECT_TRUE(torch::allclose(network->Forward(batch_), logits));
  at::Tensor loss = at::cross_entropy_loss(logits, batch_.labels, {}, at::Reduction::Sum);
  loss.backward();
  Outcome outcome = network->Run(batch_);
  EXPECT_NEAR(outcome.objective.item<float>(), loss.item<float>(), 1e-5);
  outcome.objective.backward();
  EXPECT_TRUE(torch::allclose(network->parameters()[0].grad(), weight.grad(), 1e-4, 1e-6));
  // What is written into the buffer is what the module computes with.
  for (float& value : network->values()) value = 0;
  EXPECT_EQ(network->Forward(batch_).abs().sum().item<float>(), 0);
  EXPECT_EQ(network->body().Config()["architecture"]["file"], "module.pt");
}

TEST_F(TorchScriptTest, ItsOwnLossIsTheMeanOverTheBatch) {
  auto network =
      Load(Module("def forward(self, x):\n  return x.flatten(1) @ self.weight\n"
                  "def loss(self, outputs, labels):\n  return (outputs ** 2).sum(1).mean()\n"));
  ASSERT_NE(network, nullptr);
  Outcome outcome = network->Run(batch_);
  const float squares = network->Forward(batch_).square().sum().item<float>();
  EXPECT_NEAR(outcome.objective.item<float>(), squares, 1e-3 * squares);
  EXPECT_EQ(outcome.counted, 2u);
}

TEST_F(TorchScriptTest, TokensComeWithTheirMask) {
  traits_.input = InputKind::kTokens;
  traits_.vocabulary = 4;
  recipe_.model.max_length = 5;
  auto network = Load(Module(
      "def forward(self, x, mask):\n  return (self.weight[x] * mask.unsqueeze(2)).sum(1)\n"));
  ASSERT_NE(network, nullptr);
  batch_.inputs = torch::tensor({{1, 2, 0}, {3, 0, 0}}, torch::kLong);
  batch_.mask = torch::tensor({{1.f, 1.f, 0.f}, {1.f, 0.f, 0.f}});
  at::Tensor weight = network->parameters()[0].detach();
  EXPECT_TRUE(torch::allclose(network->Forward(batch_)[0], weight[1] + weight[2]));
}

TEST_F(TorchScriptTest, WhatDoesNotFitIsNamed) {
  torch::jit::Module module = Module();
  module.register_buffer("running_mean", torch::zeros({3}));
  EXPECT_THAT(Error(module), HasSubstr("buffer 'running_mean': sites add up parameters"));
  module = Module();
  module.register_parameter("half", torch::zeros({3}, torch::kHalf), false);
  EXPECT_THAT(Error(module), HasSubstr("parameter 'half': its type is"));
  EXPECT_THAT(Error(Module("def forward(self, x):\n  return x @ self.weight\n")),
              HasSubstr("forward: RuntimeError: "));
  EXPECT_THAT(Error(Module("def forward(self, x):\n  return x.flatten(1)\n")),
              HasSubstr("of shape [2, 4] for two examples"));
  EXPECT_THAT(Error(Module("def forward(self, x):\n  return 3\n")), HasSubstr("no tensor"));
  EXPECT_THAT(Error(Module("def predict(self, x):\n  return x\n")), HasSubstr("no method forward"));
  ASSERT_TRUE(WriteFileAtomic(recipe_.model.file, Bytes(200, 'x')).ok());
  EXPECT_THAT(Error(), HasSubstr("loading it: "));
  recipe_.model.lora.rank = 2;
  EXPECT_THAT(std::string(Network::Create(recipe_, traits_).status().message()),
              HasSubstr("take no adapters"));
  recipe_.model.lora.rank = 0;
  recipe_.model.file = folder_.path() / "none.pt";
  EXPECT_TRUE(absl::IsNotFound(Network::Create(recipe_, traits_).status()));
}

TEST_F(TorchScriptTest, AFileCutOffAnywhereIsAnError) {
  Module().save(recipe_.model.file);
  const Bytes whole = *ReadFile(recipe_.model.file, 1 << 20);
  for (size_t size = 0; size < whole.size(); size += 97) {
    ASSERT_TRUE(WriteFileAtomic(recipe_.model.file, ByteView(whole).first(size)).ok());
    EXPECT_FALSE(Network::Create(recipe_, traits_).ok()) << size;
  }
}

}  // namespace
}  // namespace atl::trainer

// Every kind of model gives the outputs, losses and gradients that PyTorch and transformers give
// (references/README.md).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <set>

#include "tests/trainer/references.h"

namespace atl::trainer {
namespace {

constexpr double kTolerance = 1e-4;

class ReferenceTest : public ::testing::TestWithParam<const char*> {
 protected:
  ReferenceTest() : reference_(ReadReference(GetParam())), body_(BodyOf(reference_)) {}
  const nlohmann::json reference_;
  const std::unique_ptr<Body> body_;
};

void ExpectNear(const std::vector<double>& want, const at::Tensor& got, double tolerance) {
  const at::Tensor flat = got.detach().to(at::kDouble).flatten().contiguous();
  ASSERT_EQ(want.size(), static_cast<size_t>(flat.numel()));
  const double* values = flat.const_data_ptr<double>();
  for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(want[i], values[i], tolerance) << i;
}

TEST_P(ReferenceTest, Forward) {
  ASSERT_NE(body_, nullptr);
  torch::NoGradGuard no_grad;
  const Batch batch = BatchOf(reference_);
  at::Tensor outputs = body_->Forward(batch);
  ASSERT_EQ(outputs.sizes().vec(), reference_["shape"].get<std::vector<int64_t>>());
  std::vector<double> want = reference_["outputs"];
  if (outputs.dim() == 3) {  // what stands where padding is, nobody defines
    at::Tensor there = batch.mask.unsqueeze(2);
    at::Tensor expected = torch::tensor(want, at::kDouble).view(outputs.sizes()) * there;
    outputs = outputs * there;
    want.assign(expected.const_data_ptr<double>(),
                expected.const_data_ptr<double>() + expected.numel());
  }
  ExpectNear(want, outputs, kTolerance);
}

TEST_P(ReferenceTest, LossAndGradients) {
  ASSERT_NE(body_, nullptr);
  Outcome outcome = body_->Run(BatchOf(reference_));
  EXPECT_NEAR(outcome.objective.item<double>(), reference_["objective"].get<double>(), kTolerance);
  EXPECT_NEAR(outcome.loss_sum, reference_["loss_sum"].get<double>(), 10 * kTolerance);
  EXPECT_EQ(outcome.counted, reference_["counted"].get<uint64_t>());
  EXPECT_EQ(outcome.correct, reference_["correct"].get<uint64_t>());
  outcome.objective.backward();
  std::set<std::string> missing;
  for (const auto& [name, gradient] : reference_["gradients"].items()) missing.insert(name);
  for (const NamedTensor& parameter : body_->Parameters()) {
    if (!parameter.trainable) continue;
    SCOPED_TRACE(parameter.name);
    ASSERT_EQ(missing.erase(parameter.name), 1u) << "not in the reference";
    const nlohmann::json& want = reference_["gradients"][parameter.name];
    const at::Tensor gradient = parameter.tensor.grad();
    ASSERT_TRUE(gradient.defined());
    ASSERT_EQ(gradient.numel(), want["size"].get<int64_t>());
    const double norm = want["norm"];
    EXPECT_NEAR(gradient.to(at::kDouble).norm().item<double>(), norm, kTolerance * (norm + 1e-3));
    const std::vector<double> values = want["values"];
    at::Tensor places =
        torch::linspace(0, gradient.numel() - 1, static_cast<int64_t>(values.size())).to(at::kLong);
    ExpectNear(values, gradient.flatten().index_select(0, places), kTolerance * (norm + 1e-3));
  }
  EXPECT_TRUE(missing.empty()) << "not in the model: " << *missing.begin();
}

INSTANTIATE_TEST_SUITE_P(
    All, ReferenceTest,
    ::testing::Values("mlp", "cnn", "cnn_padded", "resnet18", "resnet18_large", "text_classifier",
                      "encoder_post_masked_lm", "encoder_post_classify", "encoder_post_contrastive",
                      "encoder_pre_masked_lm", "encoder_pre_classify", "encoder_pre_contrastive",
                      "bert_masked_lm", "bert_classify", "bert_contrastive", "bert_classify_lora",
                      "roberta_masked_lm", "roberta_classify", "decoder", "decoder_lora", "llama"),
    [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace atl::trainer

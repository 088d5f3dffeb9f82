// What bodies have in common beside their arithmetic: adapters, frozen parameters, odd batches,
// data that do not fit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "comms/base/files.h"
#include "tests/trainer/references.h"
#include "trainer/export/model_folder.h"
#include "trainer/export/safetensors.h"
#include "trainer/model/network.h"

namespace atl::trainer {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(const recipes::Recipe& recipe, const DataTraits& traits) {
  auto network = Network::Create(recipe, traits);
  EXPECT_FALSE(network.ok());
  return std::string(network.status().message());
}

TEST(AdapterTest, BeginAsTheLayersAreAndAloneAreTrained) {
  nlohmann::json reference = ReadReference("bert_classify_lora");
  const recipes::Recipe recipe = RecipeOf(reference);
  const DataTraits traits = TraitsOfReference(reference);
  recipes::Recipe plain = recipe;
  plain.model.lora = {};
  auto adapted = Network::Create(recipe, traits), base = Network::Create(plain, traits);
  ASSERT_TRUE(adapted.ok() && base.ok()) << adapted.status() << base.status();
  for (const TensorInfo& info : (*adapted)->tensors()) {
    EXPECT_TRUE(info.name.find(".lora_") != std::string::npos ||
                info.name.find("classifier.") == 0 ||
                info.name.find("pooler.") != std::string::npos)
        << info.name;
  }
  EXPECT_EQ((*adapted)->tensors().size() + (*adapted)->frozen().size(),
            (*base)->tensors().size() + 2 * 6);
  // The same base under both: with B at 0 they compute the same.
  torch::NoGradGuard no_grad;
  FillByFormula((*base)->body().Parameters(), {});
  for (NamedTensor& parameter : (*adapted)->body().Parameters()) {
    if (parameter.name.find(".lora_") == std::string::npos) FillByFormula({parameter}, {});
  }
  const Batch batch = BatchOf(reference);
  EXPECT_TRUE(torch::equal((*adapted)->Forward(batch), (*base)->Forward(batch)));
}

TEST(AdapterTest, AreAddedToTheirLayersOnExport) {
  for (const char* name : {"bert_classify_lora", "decoder_lora"}) {
    nlohmann::json reference = ReadReference(name);
    auto body = BodyOf(reference);
    ASSERT_NE(body, nullptr);
    torch::NoGradGuard no_grad;
    const Batch batch = BatchOf(reference);
    const at::Tensor with_adapters = body->Forward(batch);
    const std::vector<NamedTensor> merged = body->Export();
    reference["model"].erase("lora");
    auto plain = BodyOf(reference);
    const std::vector<NamedTensor> parameters = plain->Parameters();
    ASSERT_EQ(merged.size(), parameters.size());
    for (size_t i = 0; i < merged.size(); ++i) {
      ASSERT_EQ(merged[i].name, parameters[i].name);
      at::Tensor tensor = parameters[i].tensor;
      tensor.copy_(merged[i].tensor);
    }
    EXPECT_LT((plain->Forward(batch) - with_adapters).abs().max().item<float>(), 1e-5) << name;
  }
}

TEST(AdapterTest, APatternThatMatchesNoLayerNamesTheLayers) {
  nlohmann::json reference = ReadReference("decoder");
  recipes::Recipe recipe = RecipeOf(reference);
  recipe.model.lora.rank = 2;
  recipe.model.lora.layers = {"*.q_proj", "*.query"};
  EXPECT_THAT(ErrorOf(recipe, TraitsOfReference(reference)),
              HasSubstr("model.lora.layers: '*.query' matches no name; there are "
                        "model.layers.0.self_attn.q_proj, "));
}

TEST(FrozenTest, ParametersLieApartAndComeOutOnExport) {
  nlohmann::json reference = ReadReference("bert_masked_lm");
  recipes::Recipe recipe = RecipeOf(reference);
  const DataTraits traits = TraitsOfReference(reference);
  recipe.model.frozen = {"bert.embeddings.*", "*.LayerNorm.bias"};
  auto network = Network::Create(recipe, traits);
  ASSERT_TRUE(network.ok()) << network.status();
  const size_t all = (*network)->body().Parameters().size();
  for (const TensorInfo& info : (*network)->tensors())
    EXPECT_EQ(info.name.find("bert.embeddings."), std::string::npos) << info.name;
  EXPECT_EQ((*network)->tensors().size() + (*network)->frozen().size(), all);
  TemporaryFolder folder = *TemporaryFolder::Create("atoll-models");
  ASSERT_TRUE(WriteModelFolder(folder.path() / "whole", recipe, traits, **network).ok());
  ASSERT_TRUE(WriteTrainedFolder(folder.path() / "part", recipe, traits, **network).ok());
  EXPECT_EQ(ReadSafetensors(folder.path() / "whole" / "model.safetensors")->tensors.size(), all);
  EXPECT_EQ(ReadSafetensors(folder.path() / "part" / "model.safetensors")->tensors,
            (*network)->tensors());
  recipe.model.frozen = {"*"};
  EXPECT_THAT(ErrorOf(recipe, traits), HasSubstr("nothing of the model is left to train"));
  recipe.model.frozen = {"embeddings"};
  EXPECT_THAT(ErrorOf(recipe, traits), HasSubstr("model.frozen: 'embeddings' matches no name"));
}

TEST(OddBatchTest, AllPaddingOrNoMaskOrNothingCountedGivesNoNan) {
  for (const char* name : {"bert_masked_lm", "roberta_masked_lm", "bert_classify",
                           "encoder_pre_contrastive", "llama"}) {
    nlohmann::json reference = ReadReference(name);
    auto body = BodyOf(reference);
    ASSERT_NE(body, nullptr);
    Batch batch = BatchOf(reference);
    batch.mask = torch::zeros_like(batch.mask);
    if (batch.labels.defined() && batch.labels.dim() == 2)
      batch.labels = torch::full_like(batch.labels, kNotCounted);
    Outcome outcome = body->Run(batch);
    outcome.objective.backward();
    EXPECT_TRUE(std::isfinite(outcome.loss_sum)) << name;
    for (const NamedTensor& parameter : body->Parameters()) {
      const at::Tensor& gradient = parameter.tensor.grad();
      EXPECT_TRUE(!gradient.defined() || gradient.isfinite().all().item<bool>())
          << name << " " << parameter.name;
    }
    // Without a mask, every position is a token.
    batch.mask = torch::ones_like(batch.mask);
    torch::NoGradGuard no_grad;
    const at::Tensor masked = body->Forward(batch);
    batch.mask = at::Tensor();
    EXPECT_LT((body->Forward(batch) - masked).abs().max().item<float>(), 1e-5) << name;
  }
}

TEST(LanguageTest, PaddingChangesNothing) {
  for (const char* name : {"bert_classify", "roberta_classify"}) {
    nlohmann::json reference = ReadReference(name);
    auto body = BodyOf(reference);
    torch::NoGradGuard no_grad;
    Batch batch = BatchOf(reference);
    const at::Tensor with = body->Forward(batch).slice(0, 2, 3);
    batch.inputs = batch.inputs.slice(0, 2, 3).slice(1, 0, 3);  // the third text has 3 tokens
    batch.mask = batch.mask.slice(0, 2, 3).slice(1, 0, 3);
    EXPECT_LT((body->Forward(batch) - with).abs().max().item<float>(), 1e-5) << name;
  }
}

TEST(ModelTest, ResnetHasTheParametersOfTheOriginal) {
  recipes::Recipe recipe;
  recipe.model.kind = recipes::ModelKind::kResnet18;
  DataTraits traits;
  traits.image = {.channels = 3, .height = 224, .width = 224};
  recipe.model.classes = 1000;
  auto network = Network::Create(recipe, traits);
  ASSERT_TRUE(network.ok()) << network.status();
  EXPECT_EQ((*network)->values().size(), 11'689'512u);  // torchvision's resnet18
}

TEST(ModelTest, TheSameSeedGivesTheSameBits) {
  for (const char* name :
       {"resnet18", "text_classifier", "encoder_pre_masked_lm", "decoder_lora"}) {
    nlohmann::json reference = ReadReference(name);
    recipes::Recipe recipe = RecipeOf(reference);
    const DataTraits traits = TraitsOfReference(reference);
    auto first = Network::Create(recipe, traits), again = Network::Create(recipe, traits);
    ASSERT_TRUE(first.ok()) << first.status();
    EXPECT_TRUE(torch::equal((*first)->flat(), (*again)->flat())) << name;
    recipe.train.seed += 1;
    EXPECT_FALSE(torch::equal((*first)->flat(), (*Network::Create(recipe, traits))->flat()));
  }
}

TEST(ModelTest, DataOfAnotherKindAreRefused) {
  recipes::Recipe recipe;
  DataTraits images, tokens;
  tokens.input = InputKind::kTokens;
  recipe.model.kind = recipes::ModelKind::kResnet18;
  EXPECT_THAT(ErrorOf(recipe, tokens), HasSubstr("resnet18 reads images"));
  for (auto kind : {recipes::ModelKind::kTextClassifier, recipes::ModelKind::kEncoder,
                    recipes::ModelKind::kDecoder}) {
    recipe.model.kind = kind;
    EXPECT_THAT(ErrorOf(recipe, images), HasSubstr(ToString(kind) + " reads "));
  }
}

}  // namespace
}  // namespace atl::trainer

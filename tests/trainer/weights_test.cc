#include "trainer/model/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <limits>

#include "comms/base/files.h"
#include "tests/trainer/references.h"
#include "trainer/export/safetensors.h"

namespace atl::trainer {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class WeightsTest : public ::testing::Test {
 protected:
  // A file with tensors of ones, each [2], under these names.
  void Write(const std::vector<std::string>& names, float value = 1) {
    std::vector<TensorInfo> tensors;
    for (const std::string& name : names) tensors.push_back({name, {2}, 2 * tensors.size(), 2});
    const std::vector<float> values(2 * names.size(), value);
    ASSERT_TRUE(WriteSafetensors(folder_.path() / "model.safetensors", tensors, values).ok());
  }
  static NamedTensor Parameter(const std::string& name, bool may_be_new = false) {
    return {name, torch::zeros({2}).requires_grad_(true), true, may_be_new};
  }
  std::string Error(const std::vector<NamedTensor>& parameters) {
    absl::Status status = LoadWeights(folder_.path(), parameters).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("model.safetensors: tensor '"));
    return std::string(status.message());
  }
  TemporaryFolder folder_ = *TemporaryFolder::Create("atoll-weights");
};

TEST_F(WeightsTest, NamesWithAndWithoutPrefixAndBertsFirstOnes) {
  Write({"a.weight", "bert.b.weight", "c.LayerNorm.gamma", "bert.d.LayerNorm.beta", "model.e",
         "left.over"});
  const std::vector<NamedTensor> parameters = {
      Parameter("bert.a.weight"),    Parameter("b.weight"), Parameter("c.LayerNorm.weight"),
      Parameter("d.LayerNorm.bias"), Parameter("e"),        Parameter("classifier.weight", true)};
  auto loaded = LoadWeights(folder_.path(), parameters);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_THAT(loaded->fresh, ElementsAre("classifier.weight"));
  EXPECT_THAT(loaded->unused, ElementsAre("left.over"));
  EXPECT_EQ(loaded->Text(),
            "1 parameter begins anew (classifier.weight); 1 tensor is not used (left.over)");
  for (const NamedTensor& parameter : parameters) {
    EXPECT_EQ(parameter.tensor.sum().item<float>(), parameter.may_be_new ? 0 : 2);
    EXPECT_TRUE(parameter.tensor.requires_grad() && parameter.tensor.is_leaf());
  }
}

TEST_F(WeightsTest, ErrorsNameFileAndTensorAndLeaveTheParameters) {
  Write({"a", "b"});
  NamedTensor a = Parameter("a"), wide = {"b", torch::zeros({2, 3})};
  EXPECT_THAT(Error({a, wide}),
              HasSubstr("tensor 'b' has shape [2], and the model's b has [2, 3]"));
  EXPECT_THAT(Error({a, Parameter("gone")}),
              HasSubstr("tensor 'gone' of shape [2] is not among the 2 that it holds"));
  EXPECT_EQ(a.tensor.sum().item<float>(), 0);
  Write({"a"}, std::numeric_limits<float>::quiet_NaN());
  EXPECT_THAT(Error({a}), HasSubstr("tensor 'a' holds a value that is not finite"));
  EXPECT_TRUE(absl::IsNotFound(LoadWeights(folder_.path() / "none", {a}).status()));
  ASSERT_TRUE(WriteFileAtomic(folder_.path() / "model.safetensors", Bytes(100, 'x')).ok());
  absl::Status status = LoadWeights(folder_.path(), {a}).status();
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("model.safetensors: "), HasSubstr("not a usable safetensors file")));
}

TEST_F(WeightsTest, AnEncodersHeadIsNewForAnotherTask) {
  nlohmann::json reference = ReadReference("bert_classify");
  const recipes::Recipe recipe = RecipeOf(reference);
  auto body = MakeBody(recipe, TraitsOfReference(reference));
  ASSERT_TRUE(body.ok()) << body.status();
  auto loaded = LoadWeights(recipe.model.weights, (*body)->Parameters());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_THAT(loaded->fresh, ElementsAre("bert.pooler.dense.weight", "bert.pooler.dense.bias",
                                         "classifier.weight", "classifier.bias"));
  EXPECT_EQ(loaded->unused.size(), 5u);  // the head of masked_lm
}

}  // namespace
}  // namespace atl::trainer

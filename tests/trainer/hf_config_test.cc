#include "trainer/model/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comms/base/files.h"
#include "nlohmann/json.hpp"

namespace atl::trainer {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

nlohmann::json Bert() {
  return {{"model_type", "bert"},     {"vocab_size", 100},
          {"hidden_size", 16},        {"num_hidden_layers", 2},
          {"num_attention_heads", 4}, {"intermediate_size", 32},
          {"hidden_act", "gelu"},     {"max_position_embeddings", 64},
          {"layer_norm_eps", 1e-6},   {"pad_token_id", 3}};
}

nlohmann::json Llama() {
  nlohmann::json json = Bert();
  json["model_type"] = "llama";
  json["hidden_act"] = "silu";
  json["num_key_value_heads"] = 2;
  return json;
}

std::string EncoderError(const char* key, nlohmann::json value) {
  nlohmann::json json = Bert();
  json[key] = std::move(value);
  absl::Status status = ParseEncoderConfig(json.dump(), "f.json").status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << key;
  EXPECT_THAT(std::string(status.message()), StartsWith("f.json: "));
  return std::string(status.message());
}

std::string DecoderError(const char* key, nlohmann::json value) {
  nlohmann::json json = Llama();
  json[key] = std::move(value);
  absl::Status status = ParseDecoderConfig(json.dump(), "f.json").status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << key;
  return std::string(status.message());
}

TEST(HfConfigTest, AnEncodersSizesComeBackFromItsOwnText) {
  auto config = ParseEncoderConfig(Bert().dump(), "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->sizes.intermediate, 32);
  EXPECT_EQ(config->padding_id, 3);
  EXPECT_EQ(config->max_tokens(), 64);
  EXPECT_EQ(config->norm_epsilon, 1e-6);
  for (auto task : {recipes::EncoderTask::kMaskedLm, recipes::EncoderTask::kClassify,
                    recipes::EncoderTask::kContrastive}) {
    auto again = ParseEncoderConfig(ToJson(*config, task, {"a", "b"}).dump(), "again");
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(*again, *config);
  }
  auto json = ToJson(*config, recipes::EncoderTask::kClassify, {"no", "yes"});
  EXPECT_EQ(json["architectures"][0], "BertForSequenceClassification");
  EXPECT_EQ(json["id2label"]["1"], "yes");
  config->norm = recipes::NormPlace::kPre;
  EXPECT_EQ(config->max_tokens(), 60);
  json = ToJson(*config, recipes::EncoderTask::kMaskedLm, {});
  EXPECT_EQ(json["architectures"][0], "RobertaPreLayerNormForMaskedLM");
  EXPECT_EQ(*ParseEncoderConfig(json.dump(), "again"), *config);
}

TEST(HfConfigTest, ADecodersSizesComeBackFromItsOwnText) {
  nlohmann::json json = Llama();
  json["rope_theta"] = 5e5;
  json["eos_token_id"] = {4, 5};
  json["bos_token_id"] = 1;
  json["tie_word_embeddings"] = true;
  json["rope_scaling"] = nullptr;
  auto config = ParseDecoderConfig(json.dump(), "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->head_width, 4);
  EXPECT_EQ(config->kv_heads, 2);
  EXPECT_EQ(config->rope_theta, 5e5);
  EXPECT_TRUE(config->tied);
  EXPECT_EQ(config->end_ids, (std::vector<int64_t>{4, 5}));
  auto again = ParseDecoderConfig(ToJson(*config).dump(), "again");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, *config);
  // As transformers 5 writes it.
  json.erase("rope_theta");
  json["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 7.0}};
  EXPECT_EQ(ParseDecoderConfig(json.dump(), "config.json")->rope_theta, 7.0);
}

TEST(HfConfigTest, BadValuesNameTheKeyAndItsBounds) {
  EXPECT_THAT(EncoderError("model_type", "gpt2"), HasSubstr("model_type: \"gpt2\": only these"));
  EXPECT_THAT(EncoderError("vocab_size", 0), HasSubstr("vocab_size: 0: must be in [1, 2097152]"));
  EXPECT_THAT(EncoderError("vocab_size", 1e9), HasSubstr("must be an integer"));
  EXPECT_THAT(EncoderError("vocab_size", nullptr), HasSubstr("vocab_size: is not there"));
  EXPECT_THAT(EncoderError("hidden_size", "16"), HasSubstr("must be an integer"));
  EXPECT_THAT(EncoderError("hidden_size", ~uint64_t{0}), HasSubstr("must be in"));
  EXPECT_THAT(EncoderError("hidden_size", int64_t{-1} << 62), HasSubstr("must be in"));
  EXPECT_THAT(EncoderError("num_attention_heads", 3), HasSubstr("3 must divide hidden_size"));
  EXPECT_THAT(EncoderError("hidden_act", std::string(9000, 'x')), HasSubstr("...: only these"));
  EXPECT_THAT(EncoderError("layer_norm_eps", 0), HasSubstr("must be in (0, 1]"));
  EXPECT_THAT(EncoderError("pad_token_id", 100), HasSubstr("must be in [0, 99]"));
  EXPECT_THAT(EncoderError("position_embedding_type", "relative_key"), HasSubstr("absolute"));
  EXPECT_THAT(EncoderError("is_decoder", true), HasSubstr("encoder"));
  EXPECT_THAT(DecoderError("num_key_value_heads", 3), HasSubstr("must divide num_attention_heads"));
  EXPECT_THAT(DecoderError("head_dim", 5), HasSubstr("head_dim: 5 must be even"));
  EXPECT_THAT(DecoderError("hidden_act", "gelu"), HasSubstr("silu"));
  EXPECT_THAT(DecoderError("rope_scaling", {{"rope_type", "llama3"}}), HasSubstr("scaled rotary"));
  EXPECT_THAT(DecoderError("rope_theta", -1), HasSubstr("rope_theta: -1"));
  EXPECT_THAT(DecoderError("eos_token_id", {1, 100}), HasSubstr("eos_token_id"));
  nlohmann::json huge = Llama();
  huge["hidden_size"] = huge["intermediate_size"] = 131072;
  EXPECT_THAT(std::string(ParseDecoderConfig(huge.dump(), "f").status().message()),
              HasSubstr("parameters; at most"));
}

TEST(HfConfigTest, TextThatIsNoConfig) {
  for (const std::string& text :
       {std::string(), std::string("[]"), std::string("{"), std::string(2 << 20, ' '),
        std::string(100'000, '['), "{\"model_type\":" + std::string(50'000, '[')}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseEncoderConfig(text, "f").status()));
    EXPECT_TRUE(absl::IsInvalidArgument(ParseDecoderConfig(text, "f").status()));
  }
  TemporaryFolder folder = *TemporaryFolder::Create("atoll-config");
  EXPECT_TRUE(absl::IsNotFound(ReadEncoderConfig(folder.path()).status()));
}

TEST(HfConfigTest, DataThatDoNotFit) {
  const TransformerSizes sizes = ParseEncoderConfig(Bert().dump(), "")->sizes;
  recipes::Model model;
  model.max_length = 64;
  DataTraits traits;
  traits.vocabulary = 100;
  EXPECT_TRUE(CheckFits(sizes, 64, model, traits).ok());
  EXPECT_THAT(std::string(CheckFits(sizes, 63, model, traits).message()),
              HasSubstr("model.max_length: 64 must be at most 63"));
  traits.vocabulary = 101;
  EXPECT_THAT(std::string(CheckFits(sizes, 64, model, traits).message()),
              HasSubstr("a vocabulary of 100 ids, and the data have 101"));
  traits.vocabulary = traits.padding_id = 5;
  EXPECT_THAT(std::string(CheckFits(sizes, 64, model, traits).message()), HasSubstr("padding"));
}

}  // namespace
}  // namespace atl::trainer

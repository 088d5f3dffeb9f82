// config.json of Hugging Face transformers: the sizes of an encoder or decoder, read and written.
//
// Encoders are "bert" (norm after each half of a layer) and "roberta-prelayernorm" (before), the
// decoder is "llama". Needs no torch.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"
#include "recipes/schema/recipe.h"
#include "trainer/data/traits.h"

namespace atl::trainer {

inline constexpr uint64_t kMaxConfigBytes = 1 << 20;

// What every transformer has. Defaults are transformers' own.
struct TransformerSizes {
  int64_t vocabulary = 0;
  int64_t hidden = 0;  // width of a token, a multiple of heads
  int64_t layers = 0, heads = 0;
  int64_t intermediate = 0;  // width between the two dense layers of a block
  int64_t positions = 0;     // rows of the position table, or for what a decoder is meant
  bool operator==(const TransformerSizes&) const = default;
};

struct EncoderConfig {
  recipes::NormPlace norm = recipes::NormPlace::kPost;
  TransformerSizes sizes;
  int64_t token_types = 2;
  int64_t padding_id = 0;  // < vocabulary
  double norm_epsilon = 1e-12;
  std::string activation = "gelu";  // or gelu_new, relu

  // Tokens of the longest example: RoBERTa's positions begin behind the padding id.
  int64_t max_tokens() const {
    return norm == recipes::NormPlace::kPost ? sizes.positions : sizes.positions - padding_id - 1;
  }
  bool operator==(const EncoderConfig&) const = default;
};

struct DecoderConfig {
  TransformerSizes sizes;
  int64_t kv_heads = 0;    // divides heads
  int64_t head_width = 0;  // even
  double norm_epsilon = 1e-6;
  double rope_theta = 10000.0;
  bool tied = false;  // the output layer's weight is the table of tokens
  bool attention_bias = false, mlp_bias = false;
  std::optional<int64_t> padding_id, begin_id;
  std::vector<int64_t> end_ids;
  bool operator==(const DecoderConfig&) const = default;
};

// INVALID_ARGUMENT naming `name` (the file), the key, the value and its bounds, when the text is no
// JSON object, is of another kind of model, or asks for what is not computed here (scaled RoPE,
// relative positions, another activation).
absl::StatusOr<EncoderConfig> ParseEncoderConfig(std::string_view text, std::string_view name);
absl::StatusOr<DecoderConfig> ParseDecoderConfig(std::string_view text, std::string_view name);

// Of folder/config.json. NOT_FOUND, or as above.
absl::StatusOr<EncoderConfig> ReadEncoderConfig(const std::filesystem::path& folder);
absl::StatusOr<DecoderConfig> ReadDecoderConfig(const std::filesystem::path& folder);

// Parameters of the body that the sizes come to, without heads; for a bound before memory is taken.
double ParameterCount(const TransformerSizes& sizes);
inline constexpr double kMaxTransformerParameters = 2147483648.0;

// INVALID_ARGUMENT, naming the key, when the data have more ids than the vocabulary,
// model.max_length is over `max_tokens`, or the sizes come to over kMaxTransformerParameters.
absl::Status CheckFits(const TransformerSizes& sizes, int64_t max_tokens,
                       const recipes::Model& model, const DataTraits& traits);

// As transformers writes them. The architecture is that of the task: BertForMaskedLM,
// BertForSequenceClassification, BertModel for contrastive; or RobertaPreLayerNorm's.
// classes: their names, which only classify writes.
nlohmann::ordered_json ToJson(const EncoderConfig& config, recipes::EncoderTask task,
                              const std::vector<std::string>& classes);
nlohmann::ordered_json ToJson(const DecoderConfig& config);  // LlamaForCausalLM

}  // namespace atl::trainer

#include "trainer/model/hf_config.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "comms/base/files.h"
#include "comms/base/status.h"
#include "nlohmann/json.hpp"

namespace atl::trainer {
namespace {

constexpr int kMaxDepth = 8;
constexpr int64_t kMaxVocabulary = 1 << 21, kMaxWidth = 1 << 17, kMaxPositions = 1 << 21;
constexpr int64_t kMaxLayers = 256, kMaxHeads = 1024;
constexpr size_t kMaxEndIds = 16, kMaxTextShown = 60;

// Reads keys of one JSON object. The first error sticks; later reads give their lower bounds.
class ConfigReader {
 public:
  ConfigReader(std::string_view text, std::string_view name) : name_(name) {
    if (text.size() > kMaxConfigBytes) {
      Fail("over 1 MiB");
      return;
    }
    // Deeper values are dropped: no key that is read here nests.
    auto shallow = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
      return depth <= kMaxDepth;
    };
    json_ = nlohmann::json::parse(text.begin(), text.end(), shallow, /*allow_exceptions=*/false);
    if (json_.is_discarded() || !json_.is_object()) {
      json_ = nlohmann::json::object();
      Fail("no JSON object");
    }
  }

  // Without a fallback the key must be there. null counts as absent.
  int64_t Integer(const char* key, std::optional<int64_t> fallback, int64_t min, int64_t max) {
    const nlohmann::json* value = Find(key);
    if (value == nullptr && fallback.has_value()) return *fallback;
    if (value == nullptr) return Missing(key), min;
    if (!value->is_number_integer()) return Bad(key, *value, "must be an integer"), min;
    const bool fits = value->is_number_unsigned()
                          ? value->get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX)
                          : true;
    const int64_t number = fits ? value->get<int64_t>() : 0;
    if (!fits || number < min || number > max)
      return Bad(key, *value, absl::StrCat("must be in [", min, ", ", max, "]")), min;
    return number;
  }

  std::optional<int64_t> OptionalId(const char* key, int64_t vocabulary) {
    if (Find(key) == nullptr) return std::nullopt;
    return Integer(key, {}, -1, vocabulary - 1);
  }

  // Within (0, max].
  double Positive(const char* key, double fallback, double max) {
    const nlohmann::json* value = Find(key);
    return value == nullptr ? fallback : PositiveOf(key, *value, fallback, max);
  }
  double PositiveOf(const char* key, const nlohmann::json& value, double fallback, double max) {
    const double number = value.is_number() ? value.get<double>() : -1;
    if (number > 0 && number <= max) return number;
    return Bad(key, value, absl::StrCat("must be in (0, ", max, "]")), fallback;
  }

  bool Flag(const char* key, bool fallback) {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) return Bad(key, *value, "must be true or false"), fallback;
    return value->get<bool>();
  }

  // One of `allowed`; the first of them without the key.
  std::string Choice(const char* key, std::initializer_list<const char*> allowed) {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return *allowed.begin();
    std::string list;
    for (const char* choice : allowed) {
      if (*value == choice) return choice;
      absl::StrAppend(&list, list.empty() ? "" : ", ", choice);
    }
    return Bad(key, *value, absl::StrCat("only these are computed here: ", list)), *allowed.begin();
  }

  const nlohmann::json* Find(const char* key) const {
    auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }

  void Bad(const char* key, const nlohmann::json& value, std::string_view why) {
    std::string text = value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    if (text.size() > kMaxTextShown) text = text.substr(0, kMaxTextShown) + "...";
    Fail(absl::StrCat(key, ": ", text, ": ", absl::string_view(why.data(), why.size())));
  }
  void Fail(std::string_view why) {
    if (!status_.ok()) return;
    status_ =
        Annotate(absl::InvalidArgumentError(absl::string_view(why.data(), why.size())), name_);
  }
  const absl::Status& status() const { return status_; }

 private:
  void Missing(const char* key) { Fail(absl::StrCat(key, ": is not there")); }

  const std::string name_;
  nlohmann::json json_ = nlohmann::json::object();
  absl::Status status_;
};

TransformerSizes ReadSizes(ConfigReader& in) {
  TransformerSizes sizes;
  sizes.vocabulary = in.Integer("vocab_size", {}, 1, kMaxVocabulary);
  sizes.hidden = in.Integer("hidden_size", {}, 1, kMaxWidth);
  sizes.layers = in.Integer("num_hidden_layers", {}, 1, kMaxLayers);
  sizes.heads = in.Integer("num_attention_heads", {}, 1, kMaxHeads);
  sizes.intermediate = in.Integer("intermediate_size", {}, 1, kMaxWidth);
  sizes.positions = in.Integer("max_position_embeddings", {}, 1, kMaxPositions);
  if (ParameterCount(sizes) > kMaxTransformerParameters) {
    in.Fail(absl::StrCat("its sizes come to ", ParameterCount(sizes), " parameters; at most ",
                         kMaxTransformerParameters));
  }
  return sizes;
}

void ReadRope(ConfigReader& in, DecoderConfig& config) {
  config.rope_theta = in.Positive("rope_theta", config.rope_theta, 1e12);
  // rope_parameters: transformers 5; rope_scaling: 4.
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const nlohmann::json* rope = in.Find(key);
    if (rope == nullptr) continue;
    if (!rope->is_object()) return in.Bad(key, *rope, "must be an object");
    for (const char* type : {"rope_type", "type"}) {
      auto found = rope->find(type);
      if (found != rope->end() && *found != "default")
        return in.Bad(key, *found, "scaled rotary positions are not computed here");
    }
    auto theta = rope->find("rope_theta");
    if (theta != rope->end())
      config.rope_theta = in.PositiveOf(key, *theta, config.rope_theta, 1e12);
  }
}

std::string NameIn(const std::filesystem::path& folder) {
  return (folder / "config.json").string();
}

absl::StatusOr<Bytes> ReadConfigFile(const std::filesystem::path& folder) {
  return ReadFile(folder / "config.json", kMaxConfigBytes);
}

}  // namespace

double ParameterCount(const TransformerSizes& s) {
  const double hidden = static_cast<double>(s.hidden);
  const double block = hidden * (4 * hidden + 3 * static_cast<double>(s.intermediate));
  return hidden * static_cast<double>(s.vocabulary + s.positions) +
         block * static_cast<double>(s.layers);
}

absl::StatusOr<EncoderConfig> ParseEncoderConfig(std::string_view text, std::string_view name) {
  ConfigReader in(text, name);
  ATOLL_RETURN_IF_ERROR(in.status());
  EncoderConfig config;
  const std::string kind = in.Choice("model_type", {"bert", "roberta-prelayernorm"});
  const bool post = kind == "bert";
  config.norm = post ? recipes::NormPlace::kPost : recipes::NormPlace::kPre;
  config.sizes = ReadSizes(in);
  config.token_types = in.Integer("type_vocab_size", 2, 1, kMaxVocabulary);
  const int64_t last_id = config.sizes.vocabulary - 1;
  config.padding_id =
      in.Integer("pad_token_id", std::min<int64_t>(post ? 0 : 1, last_id), 0, last_id);
  config.norm_epsilon = in.Positive("layer_norm_eps", config.norm_epsilon, 1.0);
  config.activation = in.Choice("hidden_act", {"gelu", "gelu_new", "relu"});
  in.Choice("position_embedding_type", {"absolute"});
  if (in.Flag("is_decoder", false)) in.Fail("is_decoder: true: an encoder is read here");
  if (config.sizes.hidden % config.sizes.heads != 0) {
    in.Fail(absl::StrCat("num_attention_heads: ", config.sizes.heads,
                         " must divide hidden_size, which is ", config.sizes.hidden));
  }
  if (config.max_tokens() < 1)
    in.Fail("max_position_embeddings: no position is left behind pad_token_id");
  ATOLL_RETURN_IF_ERROR(in.status());
  return config;
}

absl::StatusOr<DecoderConfig> ParseDecoderConfig(std::string_view text, std::string_view name) {
  ConfigReader in(text, name);
  ATOLL_RETURN_IF_ERROR(in.status());
  DecoderConfig config;
  in.Choice("model_type", {"llama"});
  config.sizes = ReadSizes(in);
  const TransformerSizes& sizes = config.sizes;
  config.kv_heads = in.Integer("num_key_value_heads", sizes.heads, 1, sizes.heads);
  config.head_width = in.Integer("head_dim", sizes.hidden / sizes.heads, 1, kMaxWidth);
  if (sizes.heads % config.kv_heads != 0) {
    in.Fail(absl::StrCat("num_key_value_heads: ", config.kv_heads,
                         " must divide num_attention_heads, which is ", sizes.heads));
  }
  if (config.head_width < 2 || config.head_width % 2 != 0 ||
      config.head_width * sizes.heads > kMaxWidth) {
    in.Fail(absl::StrCat("head_dim: ", config.head_width, " must be even, and times ", sizes.heads,
                         " heads at most ", kMaxWidth));
  }
  config.norm_epsilon = in.Positive("rms_norm_eps", config.norm_epsilon, 1.0);
  in.Choice("hidden_act", {"silu"});
  ReadRope(in, config);
  config.tied = in.Flag("tie_word_embeddings", false);
  config.attention_bias = in.Flag("attention_bias", false);
  config.mlp_bias = in.Flag("mlp_bias", false);
  config.padding_id = in.OptionalId("pad_token_id", sizes.vocabulary);
  config.begin_id = in.OptionalId("bos_token_id", sizes.vocabulary);
  if (const nlohmann::json* end = in.Find("eos_token_id"); end != nullptr && end->is_array()) {
    for (const nlohmann::json& id : *end) {
      const bool fits =
          id.is_number_unsigned() && id.get<uint64_t>() < static_cast<uint64_t>(sizes.vocabulary);
      if (!fits || config.end_ids.size() == kMaxEndIds) {
        in.Bad("eos_token_id", *end, "must hold at most 16 ids of the vocabulary");
        break;
      }
      config.end_ids.push_back(id.get<int64_t>());
    }
  } else if (auto id = in.OptionalId("eos_token_id", sizes.vocabulary)) {
    config.end_ids.push_back(*id);
  }
  ATOLL_RETURN_IF_ERROR(in.status());
  return config;
}

absl::StatusOr<EncoderConfig> ReadEncoderConfig(const std::filesystem::path& folder) {
  ATOLL_ASSIGN_OR_RETURN(Bytes text, ReadConfigFile(folder));
  return ParseEncoderConfig(AsText(text), NameIn(folder));
}

absl::StatusOr<DecoderConfig> ReadDecoderConfig(const std::filesystem::path& folder) {
  ATOLL_ASSIGN_OR_RETURN(Bytes text, ReadConfigFile(folder));
  return ParseDecoderConfig(AsText(text), NameIn(folder));
}

absl::Status CheckFits(const TransformerSizes& sizes, int64_t max_tokens,
                       const recipes::Model& model, const DataTraits& traits) {
  if (traits.vocabulary < 1 || traits.padding_id >= traits.vocabulary)
    return absl::InvalidArgumentError("data.tokenizer: its vocabulary lacks the padding's id");
  if (sizes.vocabulary < traits.vocabulary) {
    return absl::InvalidArgumentError(absl::StrCat("model.weights: a vocabulary of ",
                                                   sizes.vocabulary, " ids, and the data have ",
                                                   traits.vocabulary));
  }
  if (model.max_length > max_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("model.max_length: ", model.max_length,
                                                   " must be at most ", max_tokens,
                                                   ", the positions of model.weights"));
  }
  if (ParameterCount(sizes) > kMaxTransformerParameters) {
    return absl::InvalidArgumentError(absl::StrCat("model.hidden_size: the model's sizes come to ",
                                                   ParameterCount(sizes), " parameters; at most ",
                                                   kMaxTransformerParameters));
  }
  return absl::OkStatus();
}

nlohmann::ordered_json ToJson(const EncoderConfig& config, recipes::EncoderTask task,
                              const std::vector<std::string>& classes) {
  const bool post = config.norm == recipes::NormPlace::kPost;
  std::string architecture = post ? "Bert" : "RobertaPreLayerNorm";
  switch (task) {
    case recipes::EncoderTask::kMaskedLm:
      architecture += "ForMaskedLM";
      break;
    case recipes::EncoderTask::kClassify:
      architecture += "ForSequenceClassification";
      break;
    case recipes::EncoderTask::kContrastive:
      architecture += "Model";
      break;
  }
  const TransformerSizes& sizes = config.sizes;
  nlohmann::ordered_json json = {{"architectures", {architecture}},
                                 {"model_type", post ? "bert" : "roberta-prelayernorm"},
                                 {"vocab_size", sizes.vocabulary},
                                 {"hidden_size", sizes.hidden},
                                 {"num_hidden_layers", sizes.layers},
                                 {"num_attention_heads", sizes.heads},
                                 {"intermediate_size", sizes.intermediate},
                                 {"hidden_act", config.activation},
                                 {"hidden_dropout_prob", 0.0},
                                 {"attention_probs_dropout_prob", 0.0},
                                 {"max_position_embeddings", sizes.positions},
                                 {"type_vocab_size", config.token_types},
                                 {"layer_norm_eps", config.norm_epsilon},
                                 {"initializer_range", 0.02},
                                 {"pad_token_id", config.padding_id},
                                 {"position_embedding_type", "absolute"},
                                 {"torch_dtype", "float32"}};
  if (task == recipes::EncoderTask::kClassify) {
    json["problem_type"] = "single_label_classification";
    for (size_t i = 0; i < classes.size(); ++i) {
      json["id2label"][absl::StrCat(i)] = classes[i];
      json["label2id"][classes[i]] = i;
    }
  }
  return json;
}

nlohmann::ordered_json ToJson(const DecoderConfig& config) {
  const TransformerSizes& sizes = config.sizes;
  nlohmann::ordered_json json = {{"architectures", {"LlamaForCausalLM"}},
                                 {"model_type", "llama"},
                                 {"vocab_size", sizes.vocabulary},
                                 {"hidden_size", sizes.hidden},
                                 {"num_hidden_layers", sizes.layers},
                                 {"num_attention_heads", sizes.heads},
                                 {"num_key_value_heads", config.kv_heads},
                                 {"head_dim", config.head_width},
                                 {"intermediate_size", sizes.intermediate},
                                 {"hidden_act", "silu"},
                                 {"max_position_embeddings", sizes.positions},
                                 {"rms_norm_eps", config.norm_epsilon},
                                 {"rope_theta", config.rope_theta},
                                 {"tie_word_embeddings", config.tied},
                                 {"attention_bias", config.attention_bias},
                                 {"mlp_bias", config.mlp_bias},
                                 {"attention_dropout", 0.0},
                                 {"initializer_range", 0.02},
                                 {"torch_dtype", "float32"}};
  if (config.padding_id) json["pad_token_id"] = *config.padding_id;
  if (config.begin_id) json["bos_token_id"] = *config.begin_id;
  if (config.end_ids.size() == 1) {
    json["eos_token_id"] = config.end_ids[0];
  } else if (!config.end_ids.empty()) {
    json["eos_token_id"] = config.end_ids;
  }
  return json;
}

}  // namespace atl::trainer

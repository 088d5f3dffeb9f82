#include "trainer/model/decoder.h"

#include <torch/types.h>

#include "comms/base/status.h"
#include "nlohmann/json.hpp"
#include "trainer/model/attention.h"
#include "trainer/model/hf_config.h"
#include "trainer/model/parameter_set.h"

namespace atl::trainer {
namespace {

constexpr double kInitialStd = 0.02;

struct RmsNorm {
  at::Tensor weight;  // [hidden]
  double epsilon = 1e-6;
  at::Tensor operator()(const at::Tensor& x) const {
    return at::rms_norm(x, weight.sizes(), weight, epsilon);
  }
};

struct DecoderLayer {
  RmsNorm attention_norm, mlp_norm;
  LinearLayer query, key, value, output, gate, up, down;
};

// Rotary positions (Su et al., 2104.09864) of [.., length, width].
struct Rotation {
  at::Tensor cos, sin;  // [length, width]
  at::Tensor operator()(const at::Tensor& x) const {
    std::vector<at::Tensor> halves = x.chunk(2, -1);
    return x * cos + at::cat({-halves[1], halves[0]}, -1) * sin;
  }
};

class Decoder : public Body {
 public:
  Decoder(const DecoderConfig& config, const recipes::Model& model)
      : config_(config), set_(model.lora, kInitialStd) {
    const TransformerSizes& sizes = config.sizes;
    words_ = set_.AddTable("model.embed_tokens", sizes.vocabulary, sizes.hidden);
    for (int64_t i = 0; i < sizes.layers; ++i)
      layers_.push_back(AddLayer(absl::StrCat("model.layers.", i, ".")));
    last_norm_ = AddNorm("model.norm");
    if (!config.tied) {
      head_ =
          set_.AddLinear("lm_head", {.in = sizes.hidden, .out = sizes.vocabulary, .bias = false});
    }
    inverse_frequencies_ =
        at::pow(config.rope_theta, at::arange(0, config.head_width, 2, at::kFloat) /
                                       static_cast<double>(config.head_width))
            .reciprocal();
  }

  absl::Status Check() const { return set_.CheckAdapters(); }
  std::vector<NamedTensor> Parameters() const override { return set_.tensors(); }
  std::vector<NamedTensor> Export() const override { return set_.Merged(); }
  nlohmann::ordered_json Config() const override { return ToJson(config_); }

  at::Tensor Forward(const Batch& batch) override { return Vocabulary(Hidden(batch.inputs)); }

  Outcome Run(const Batch& batch) override {
    return LanguageOutcome(Hidden(batch.inputs), batch.labels,
                           [this](const at::Tensor& rows) { return Vocabulary(rows); });
  }

 private:
  RmsNorm AddNorm(const std::string& name) {
    return {set_.Add(name + ".weight", torch::ones({config_.sizes.hidden})), config_.norm_epsilon};
  }

  DecoderLayer AddLayer(const std::string& name) {
    const int64_t hidden = config_.sizes.hidden, wide = config_.sizes.intermediate;
    const int64_t queries = config_.sizes.heads * config_.head_width;
    const int64_t keys = config_.kv_heads * config_.head_width;
    auto add = [&](const std::string& part, int64_t in, int64_t out, bool bias) {
      return set_.AddLinear(name + part, {.in = in, .out = out, .bias = bias});
    };
    DecoderLayer layer;
    layer.attention_norm = AddNorm(name + "input_layernorm");
    layer.query = add("self_attn.q_proj", hidden, queries, config_.attention_bias);
    layer.key = add("self_attn.k_proj", hidden, keys, config_.attention_bias);
    layer.value = add("self_attn.v_proj", hidden, keys, config_.attention_bias);
    layer.output = add("self_attn.o_proj", queries, hidden, config_.attention_bias);
    layer.mlp_norm = AddNorm(name + "post_attention_layernorm");
    layer.gate = add("mlp.gate_proj", hidden, wide, config_.mlp_bias);
    layer.up = add("mlp.up_proj", hidden, wide, config_.mlp_bias);
    layer.down = add("mlp.down_proj", wide, hidden, config_.mlp_bias);
    return layer;
  }

  Rotation RotationOf(int64_t length, const at::Tensor& like) const {
    at::Tensor places = at::arange(length, like.options());
    at::Tensor angles = at::outer(places, inverse_frequencies_.to(like.device()));
    angles = at::cat({angles, angles}, -1);
    return {angles.cos(), angles.sin()};
  }

  // ids [n, length] -> [n, length, hidden]
  at::Tensor Hidden(const at::Tensor& ids) const {
    at::Tensor x = at::embedding(words_, ids);
    const Rotation rotate = RotationOf(ids.size(1), x);
    for (const DecoderLayer& layer : layers_) {
      x = x + Attention(layer, layer.attention_norm(x), rotate);
      at::Tensor y = layer.mlp_norm(x);
      x = x + layer.down(at::silu(layer.gate(y)) * layer.up(y));
    }
    return last_norm_(x);
  }

  at::Tensor Attention(const DecoderLayer& layer, const at::Tensor& x,
                       const Rotation& rotate) const {
    at::Tensor query = rotate(SplitHeads(layer.query(x), config_.sizes.heads));
    at::Tensor key = rotate(SplitHeads(layer.key(x), config_.kv_heads));
    at::Tensor value = SplitHeads(layer.value(x), config_.kv_heads);
    return layer.output(MergeHeads(Attend(query, key, value, {}, /*causal=*/true)));
  }

  at::Tensor Vocabulary(const at::Tensor& hidden) const {
    return config_.tied ? at::linear(hidden, words_) : head_(hidden);
  }

  const DecoderConfig config_;
  ParameterSet set_;
  at::Tensor words_, inverse_frequencies_;
  std::vector<DecoderLayer> layers_;
  RmsNorm last_norm_;
  LinearLayer head_;
};

DecoderConfig ConfigOf(const recipes::Model& model, const DataTraits& traits) {
  DecoderConfig config;
  config.sizes = {.vocabulary = traits.vocabulary,
                  .hidden = model.hidden_size,
                  .layers = model.layers,
                  .heads = model.heads,
                  .intermediate = model.intermediate_size,
                  .positions = model.max_length};
  config.kv_heads = model.kv_heads == 0 ? model.heads : model.kv_heads;
  config.head_width = model.hidden_size / model.heads;
  config.tied = true;
  config.padding_id = traits.padding_id;
  return config;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Body>> MakeDecoder(const recipes::Recipe& recipe,
                                                  const DataTraits& traits) {
  const recipes::Model& model = recipe.model;
  if (traits.input != InputKind::kTokens)
    return absl::InvalidArgumentError("model.kind: decoder reads tokens; the data are none");
  DecoderConfig config = ConfigOf(model, traits);
  if (!model.weights.empty()) {
    ATOLL_ASSIGN_OR_RETURN(config, ReadDecoderConfig(model.weights));
  }
  ATOLL_RETURN_IF_ERROR(CheckFits(config.sizes, config.sizes.positions, model, traits));
  auto body = std::make_unique<Decoder>(config, model);
  ATOLL_RETURN_IF_ERROR(body->Check());
  return body;
}

}  // namespace atl::trainer

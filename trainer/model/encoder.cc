#include "trainer/model/encoder.h"

#include <torch/types.h>

#include "comms/base/status.h"
#include "nlohmann/json.hpp"
#include "trainer/model/attention.h"
#include "trainer/model/hf_config.h"
#include "trainer/model/outcome.h"
#include "trainer/model/parameter_set.h"

namespace atl::trainer {
namespace {

using recipes::EncoderTask;

constexpr double kInitialStd = 0.02;

struct EncoderLayer {
  LinearLayer query, key, value, attention_output, intermediate, output;
  LayerNorm attention_norm, output_norm;  // where they act depends on the norm's place
};

at::Tensor Activate(const std::string& activation, const at::Tensor& x) {
  if (activation == "relu") return at::relu(x);
  return at::gelu(x, activation == "gelu_new" ? "tanh" : "none");
}

class Encoder : public Body {
 public:
  Encoder(const EncoderConfig& config, const recipes::Model& model, const DataTraits& traits)
      : config_(config),
        task_(model.task),
        temperature_(model.temperature),
        set_(model.lora, kInitialStd) {
    const TransformerSizes& sizes = config.sizes;
    std::string prefix = post() ? "bert." : "roberta_prelayernorm.";
    if (task_ == EncoderTask::kContrastive) prefix.clear();
    const std::string embeddings = prefix + "embeddings.";
    words_ = set_.AddTable(embeddings + "word_embeddings", sizes.vocabulary, sizes.hidden,
                           config.padding_id);
    positions_ = set_.AddTable(embeddings + "position_embeddings", sizes.positions, sizes.hidden,
                               post() ? -1 : config.padding_id);
    types_ = set_.AddTable(embeddings + "token_type_embeddings", config.token_types, sizes.hidden);
    embedding_norm_ = AddNorm(embeddings + "LayerNorm");
    for (int64_t i = 0; i < sizes.layers; ++i)
      layers_.push_back(AddLayer(absl::StrCat(prefix, "encoder.layer.", i, ".")));
    if (!post()) last_norm_ = AddNorm(prefix + "LayerNorm");
    AddHead(prefix, model.classes);
    for (int i = 0; i < model.classes && task_ == EncoderTask::kClassify; ++i) {
      const bool named = traits.class_names.size() == static_cast<size_t>(model.classes);
      classes_.push_back(named ? traits.class_names[i] : absl::StrCat("LABEL_", i));
    }
  }

  absl::Status Check() const { return set_.CheckAdapters(); }
  std::vector<NamedTensor> Parameters() const override { return set_.tensors(); }
  std::vector<NamedTensor> Export() const override { return set_.Merged(); }
  nlohmann::ordered_json Config() const override { return ToJson(config_, task_, classes_); }

  at::Tensor Forward(const Batch& batch) override {
    switch (task_) {
      case EncoderTask::kMaskedLm:
        return Vocabulary(Hidden(batch.inputs, batch.mask));
      case EncoderTask::kClassify:
        return Classes(Hidden(batch.inputs, batch.mask));
      case EncoderTask::kContrastive:
        break;
    }
    return Embed(batch.inputs, batch.mask);
  }

  Outcome Run(const Batch& batch) override {
    switch (task_) {
      case EncoderTask::kMaskedLm:
        return LanguageOutcome(Hidden(batch.inputs, batch.mask), batch.labels,
                               [this](const at::Tensor& rows) { return Vocabulary(rows); });
      case EncoderTask::kClassify:
        return ClassOutcome(Forward(batch), batch.labels);
      case EncoderTask::kContrastive:
        break;
    }
    at::Tensor first = Embed(batch.inputs, batch.mask);
    at::Tensor second = Embed(batch.pair_inputs, batch.pair_mask);
    at::Tensor cosines = first.matmul(second.t());
    return ClassOutcome(cosines / temperature_, at::arange(first.size(0), batch.inputs.options()));
  }

 private:
  bool post() const { return config_.norm == recipes::NormPlace::kPost; }

  LayerNorm AddNorm(const std::string& name, Role role = Role::kBase) {
    return set_.AddLayerNorm(name, config_.sizes.hidden, config_.norm_epsilon, role);
  }

  EncoderLayer AddLayer(const std::string& name) {
    const int64_t hidden = config_.sizes.hidden, wide = config_.sizes.intermediate;
    EncoderLayer layer;
    if (!post()) layer.attention_norm = AddNorm(name + "attention.LayerNorm");
    layer.query = set_.AddLinear(name + "attention.self.query", {.in = hidden, .out = hidden});
    layer.key = set_.AddLinear(name + "attention.self.key", {.in = hidden, .out = hidden});
    layer.value = set_.AddLinear(name + "attention.self.value", {.in = hidden, .out = hidden});
    layer.attention_output =
        set_.AddLinear(name + "attention.output.dense", {.in = hidden, .out = hidden});
    if (post()) layer.attention_norm = AddNorm(name + "attention.output.LayerNorm");
    if (!post()) layer.output_norm = AddNorm(name + "intermediate.LayerNorm");
    layer.intermediate = set_.AddLinear(name + "intermediate.dense", {.in = hidden, .out = wide});
    layer.output = set_.AddLinear(name + "output.dense", {.in = wide, .out = hidden});
    if (post()) layer.output_norm = AddNorm(name + "output.LayerNorm");
    return layer;
  }

  void AddHead(const std::string& prefix, int64_t classes) {
    const int64_t hidden = config_.sizes.hidden;
    const ParameterSet::LinearOptions square = {.in = hidden, .out = hidden, .role = Role::kHead};
    switch (task_) {
      case EncoderTask::kMaskedLm: {
        const std::string head = post() ? "cls.predictions." : "lm_head.";
        dense_ = set_.AddLinear(head + (post() ? "transform.dense" : "dense"), square);
        head_norm_ = AddNorm(head + (post() ? "transform.LayerNorm" : "layer_norm"), Role::kHead);
        head_bias_ = set_.Add(head + "bias", torch::zeros({config_.sizes.vocabulary}), Role::kHead);
        return;
      }
      case EncoderTask::kClassify: {
        // BERT's pooler may be new too: a file of masked_lm has none.
        dense_ = set_.AddLinear(post() ? prefix + "pooler.dense" : "classifier.dense", square);
        out_ = set_.AddLinear(post() ? "classifier" : "classifier.out_proj",
                              {.in = hidden, .out = classes, .role = Role::kHead});
        return;
      }
      case EncoderTask::kContrastive:
        set_.AddLinear(prefix + "pooler.dense",
                       {.in = hidden, .out = hidden, .role = Role::kSpare});
        return;
    }
  }

  // ids [n, length] -> [n, length, hidden]
  at::Tensor Hidden(const at::Tensor& ids, const at::Tensor& mask) const {
    const int64_t length = ids.size(1);
    at::Tensor places = at::arange(length, ids.options());
    if (!post()) {
      at::Tensor there = mask.defined() ? mask.to(at::kLong) : at::ones_like(ids);
      places = there.cumsum(1) * there + config_.padding_id;
    }
    at::Tensor x = at::embedding(words_, ids, config_.padding_id) + types_.select(0, 0) +
                   at::embedding(positions_, places, post() ? -1 : config_.padding_id);
    x = embedding_norm_(x);
    const at::Tensor scores = ScoresOfMask(mask);
    for (const EncoderLayer& layer : layers_) {
      if (post()) {
        x = layer.attention_norm(layer.attention_output(Attention(layer, x, scores)) + x);
        x = layer.output_norm(Widened(layer, x) + x);
      } else {
        x = layer.attention_output(Attention(layer, layer.attention_norm(x), scores)) + x;
        x = Widened(layer, layer.output_norm(x)) + x;
      }
    }
    return post() ? x : last_norm_(x);
  }

  at::Tensor Attention(const EncoderLayer& layer, const at::Tensor& x,
                       const at::Tensor& scores) const {
    const int64_t heads = config_.sizes.heads;
    return MergeHeads(Attend(SplitHeads(layer.query(x), heads), SplitHeads(layer.key(x), heads),
                             SplitHeads(layer.value(x), heads), scores, /*causal=*/false));
  }

  at::Tensor Widened(const EncoderLayer& layer, const at::Tensor& x) const {
    return layer.output(Activate(config_.activation, layer.intermediate(x)));
  }

  at::Tensor Vocabulary(const at::Tensor& hidden) const {
    // RoBERTa's head is gelu whatever the body's activation is.
    at::Tensor x = head_norm_(Activate(post() ? config_.activation : "gelu", dense_(hidden)));
    return at::linear(x, words_, head_bias_);
  }

  at::Tensor Classes(const at::Tensor& hidden) const {
    return out_(at::tanh(dense_(hidden.select(1, 0))));
  }

  at::Tensor Embed(const at::Tensor& ids, const at::Tensor& mask) const {
    at::Tensor hidden = Hidden(ids, mask), mean;
    if (mask.defined()) {
      at::Tensor weight = mask.unsqueeze(2);
      mean = (hidden * weight).sum(1) / weight.sum(1).clamp_min(1e-9);
    } else {
      mean = hidden.mean(1);
    }
    return mean / mean.norm(2, 1, true).clamp_min(1e-12);
  }

  const EncoderConfig config_;
  const EncoderTask task_;
  const double temperature_;
  ParameterSet set_;
  std::vector<std::string> classes_;
  at::Tensor words_, positions_, types_, head_bias_;
  LayerNorm embedding_norm_, last_norm_, head_norm_;
  std::vector<EncoderLayer> layers_;
  LinearLayer dense_, out_;
};

EncoderConfig ConfigOf(const recipes::Model& model, const DataTraits& traits) {
  EncoderConfig config;
  config.norm = model.norm;
  config.padding_id = traits.padding_id;
  config.sizes = {.vocabulary = traits.vocabulary,
                  .hidden = model.hidden_size,
                  .layers = model.layers,
                  .heads = model.heads,
                  .intermediate = model.intermediate_size,
                  .positions = model.max_length};
  if (model.norm == recipes::NormPlace::kPre) config.sizes.positions += traits.padding_id + 1;
  return config;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Body>> MakeEncoder(const recipes::Recipe& recipe,
                                                  const DataTraits& traits) {
  const recipes::Model& model = recipe.model;
  if (traits.input != InputKind::kTokens)
    return absl::InvalidArgumentError("model.kind: encoder reads tokens; the data are none");
  EncoderConfig config = ConfigOf(model, traits);
  if (!model.weights.empty()) {
    ATOLL_ASSIGN_OR_RETURN(config, ReadEncoderConfig(model.weights));
  }
  ATOLL_RETURN_IF_ERROR(CheckFits(config.sizes, config.max_tokens(), model, traits));
  auto body = std::make_unique<Encoder>(config, model, traits);
  ATOLL_RETURN_IF_ERROR(body->Check());
  return body;
}

}  // namespace atl::trainer

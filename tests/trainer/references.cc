#include "tests/trainer/references.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>

#include "trainer/model/weights.h"

namespace atl::trainer {
namespace {

std::vector<double> NoiseValues(int64_t count, uint64_t phase) {
  std::vector<double> values(static_cast<size_t>(count));
  for (uint64_t i = 0; i < values.size(); ++i) {
    uint32_t x = static_cast<uint32_t>(i * 2654435761 + phase * 40503 + 1);
    x = (x ^ (x >> 16)) * 0x7FEB352D;
    x = (x ^ (x >> 15)) * 0x846CA68B;
    x ^= x >> 16;
    values[i] = static_cast<double>(x) / 2147483648.0 - 1;
  }
  return values;
}

at::Tensor ToTensor(const std::vector<double>& values, at::IntArrayRef shape) {
  return torch::tensor(values, torch::kFloat64).to(torch::kFloat32).view(shape);
}

at::Tensor Formula(const std::string& name, at::IntArrayRef shape) {
  uint64_t phase = 0;
  int64_t count = 1;
  for (unsigned char c : name) phase += c;
  for (int64_t size : shape) count *= size;
  std::vector<double> values = NoiseValues(count, phase);
  const bool weight = name.ends_with("weight");
  const double scale =
      shape.size() > 1 ? std::sqrt(3.0 * static_cast<double>(shape[0]) / static_cast<double>(count))
                       : 0.1;
  for (double& value : values) value = value * scale + (shape.size() == 1 && weight ? 1 : 0);
  return ToTensor(values, shape);
}

template <typename T>
T Get(const nlohmann::json& json, const char* key, T fallback) {
  return json.contains(key) ? json[key].get<T>() : fallback;
}

}  // namespace

std::filesystem::path ReferenceFolder() {
  return std::filesystem::path(std::getenv("ATOLL_SOURCE_DIR")) / "tests/trainer/references/models";
}

nlohmann::json ReadReference(const std::string& name) {
  std::ifstream file(ReferenceFolder() / (name + ".json"));
  return nlohmann::json::parse(file);
}

recipes::Recipe RecipeOf(const nlohmann::json& reference) {
  const nlohmann::json& json = reference["model"];
  recipes::Recipe recipe;
  recipes::Model& model = recipe.model;
  const std::string kind = json["kind"], task = Get<std::string>(json, "task", "masked_lm");
  for (auto value : {recipes::ModelKind::kMlp, recipes::ModelKind::kCnn,
                     recipes::ModelKind::kResnet18, recipes::ModelKind::kTextClassifier,
                     recipes::ModelKind::kEncoder, recipes::ModelKind::kDecoder}) {
    if (ToString(value) == kind) model.kind = value;
  }
  for (auto value : {recipes::EncoderTask::kMaskedLm, recipes::EncoderTask::kClassify,
                     recipes::EncoderTask::kContrastive}) {
    if (ToString(value) == task) model.task = value;
  }
  if (Get<std::string>(json, "norm", "post") == "pre") model.norm = recipes::NormPlace::kPre;
  model.hidden = Get<std::vector<int>>(json, "hidden", {});
  model.channels = Get<std::vector<int>>(json, "channels", {6, 16});
  model.classes = Get(json, "classes", 10);
  model.buckets = Get(json, "buckets", 0);
  model.width = Get(json, "width", 0);
  model.layers = Get(json, "layers", 0);
  model.heads = Get(json, "heads", 0);
  model.kv_heads = Get(json, "kv_heads", 0);
  model.hidden_size = Get(json, "hidden_size", 0);
  model.intermediate_size = Get(json, "intermediate_size", 0);
  model.max_length = Get(json, "max_length", 0);
  model.temperature = Get(json, "temperature", 1.0);
  const std::string weights = Get<std::string>(json, "weights", "");
  if (!weights.empty()) model.weights = ReferenceFolder() / weights;
  if (json.contains("lora")) {
    model.lora = {.rank = json["lora"]["rank"],
                  .alpha = json["lora"]["alpha"],
                  .layers = json["lora"]["layers"].get<std::vector<std::string>>()};
  }
  return recipe;
}

DataTraits TraitsOfReference(const nlohmann::json& reference) {
  DataTraits traits;
  const std::string kind = reference["model"]["kind"];
  if (kind == "text-classifier") traits.input = InputKind::kNgrams;
  if (kind == "encoder" || kind == "decoder") {
    traits.input = InputKind::kTokens;
    traits.vocabulary = 48;
    traits.padding_id = reference["model"]["padding_id"];
  }
  if (reference.contains("noise")) {
    const auto shape = reference["noise"]["shape"].get<std::vector<uint32_t>>();
    traits.image = {.channels = shape[1], .height = shape[2], .width = shape[3]};
  }
  return traits;
}

at::Tensor Noise(const std::vector<int64_t>& shape, uint64_t phase) {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  return ToTensor(NoiseValues(count, phase), shape);
}

Batch BatchOf(const nlohmann::json& reference) {
  Batch batch;
  auto read = [&](const char* name, at::ScalarType type) {
    if (!reference["inputs"].contains(name)) return at::Tensor();
    const nlohmann::json& json = reference["inputs"][name];
    return ToTensor(json["values"].get<std::vector<double>>(),
                    json["shape"].get<std::vector<int64_t>>())
        .to(type);
  };
  batch.inputs = read("inputs", at::kLong);
  batch.offsets = read("offsets", at::kLong);
  batch.mask = read("mask", at::kFloat);
  batch.labels = read("labels", at::kLong);
  batch.pair_inputs = read("pair_inputs", at::kLong);
  batch.pair_mask = read("pair_mask", at::kFloat);
  if (reference.contains("noise")) {
    batch.inputs = Noise(reference["noise"]["shape"].get<std::vector<int64_t>>(),
                         reference["noise"]["phase"].get<uint64_t>());
  }
  batch.examples =
      static_cast<uint32_t>(batch.labels.defined() ? batch.labels.size(0) : batch.inputs.size(0));
  return batch;
}

void FillByFormula(const std::vector<NamedTensor>& parameters,
                   const std::vector<std::string>& names) {
  torch::NoGradGuard no_grad;
  for (const NamedTensor& parameter : parameters) {
    const bool named = std::find(names.begin(), names.end(), parameter.name) != names.end();
    at::Tensor tensor = parameter.tensor;
    if (names.empty() || named) tensor.copy_(Formula(parameter.name, tensor.sizes()));
  }
}

std::unique_ptr<Body> BodyOf(const nlohmann::json& reference) {
  const recipes::Recipe recipe = RecipeOf(reference);
  auto body = MakeBody(recipe, TraitsOfReference(reference));
  if (!body.ok()) {
    ADD_FAILURE() << body.status();
    return nullptr;
  }
  const std::vector<NamedTensor> parameters = (*body)->Parameters();
  if (recipe.model.weights.empty()) {
    FillByFormula(parameters, {});
    return std::move(*body);
  }
  auto loaded = LoadWeights(recipe.model.weights, parameters);
  if (!loaded.ok()) {
    ADD_FAILURE() << loaded.status();
    return nullptr;
  }
  if (!loaded->fresh.empty()) FillByFormula(parameters, loaded->fresh);
  return std::move(*body);
}

}  // namespace atl::trainer

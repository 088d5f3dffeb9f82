#include "trainer/model/torchscript.h"

#include <torch/script.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <filesystem>

#include "comms/base/status.h"
#include "nlohmann/json.hpp"
#include "trainer/model/outcome.h"
#include "trainer/torch_status.h"

namespace atl::trainer {
namespace {

// The interpreter's messages begin with a trace of the script; what went wrong stands at their end.
at::Tensor CallMethod(const torch::jit::Module& module, const char* method,
                      std::vector<c10::IValue> arguments) {
  torch::jit::GraphOptimizerEnabledGuard unoptimised(false);
  std::string why;
  try {
    const c10::IValue result = module.get_method(method)(std::move(arguments));
    if (result.isTensor()) return result.toTensor();
    why = "gives " + result.tagKind() + " and no tensor";
  } catch (const std::exception& error) {
    why = error.what();
    while (!why.empty() && why.back() == '\n') why.pop_back();
    const size_t line = why.rfind('\n');
    if (line != std::string::npos) why = why.substr(line + 1);
  }
  TORCH_CHECK(false, method, ": ", why);
}

class ScriptModule : public Body {
 public:
  ScriptModule(torch::jit::Module module, std::string file)
      : module_(std::move(module)), file_(std::move(file)) {
    for (const auto& parameter : module_.named_parameters())
      parameters_.push_back({parameter.name, parameter.value});
    has_loss_ = module_.find_method("loss").has_value();
  }

  std::vector<NamedTensor> Parameters() const override { return parameters_; }

  at::Tensor Forward(const Batch& batch) override {
    std::vector<c10::IValue> arguments = {batch.inputs};
    if (TakesTwo()) arguments.push_back(batch.offsets.defined() ? batch.offsets : batch.mask);
    return CallMethod(module_, "forward", std::move(arguments));
  }

  Outcome Run(const Batch& batch) override {
    at::Tensor outputs = Forward(batch);
    const bool tokens = batch.labels.dim() == 2;
    Outcome outcome =
        tokens ? TokenOutcome(outputs, batch.labels) : ClassOutcome(outputs, batch.labels);
    if (!has_loss_) return outcome;
    at::Tensor mean = CallMethod(module_, "loss", {outputs, batch.labels});
    TORCH_CHECK(mean.numel() == 1 && mean.requires_grad() == outputs.requires_grad(),
                "loss gives no scalar with a gradient");
    outcome.objective = mean.reshape({}) * static_cast<double>(batch.examples);
    outcome.loss_sum = mean.item<float>() * static_cast<double>(outcome.counted);
    return outcome;
  }

  void SetTraining(bool training) override {
    for (torch::jit::Module part : module_.modules()) {
      if (part.hasattr("training")) part.setattr("training", training);
    }
  }

  nlohmann::ordered_json Config() const override {
    return {{"model_type", "atoll"}, {"architecture", {{"kind", "torchscript"}, {"file", file_}}}};
  }

 private:
  bool TakesTwo() const {
    return module_.get_method("forward").function().getSchema().arguments().size() > 2;
  }

  torch::jit::Module module_;
  const std::string file_;  // its name without folders
  std::vector<NamedTensor> parameters_;
  bool has_loss_ = false;
};

absl::Status CheckTensors(const torch::jit::Module& module) {
  for (const auto& buffer : module.named_buffers()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "buffer '", buffer.name,
        "': sites add up parameters, and a buffer would be each site's own; keep a constant as a "
        "plain attribute, and take group norm in place of batch norm"));
  }
  bool any = false;
  for (const auto& parameter : module.named_parameters()) {
    any = true;
    if (parameter.value.scalar_type() != at::kFloat || parameter.value.is_sparse()) {
      return absl::InvalidArgumentError(absl::StrCat("parameter '", parameter.name,
                                                     "': its type is ", parameter.value.toString(),
                                                     "; it must be float32"));
    }
  }
  if (!any) return absl::InvalidArgumentError("the module has no parameters");
  return absl::OkStatus();
}

// Two examples of zeros.
Batch ProbeOf(const recipes::Recipe& recipe, const DataTraits& traits) {
  Batch batch;
  batch.examples = 2;
  const int64_t length = recipe.model.max_length;
  switch (traits.input) {
    case InputKind::kImages:
      batch.inputs =
          torch::zeros({2, traits.image.channels, traits.image.height, traits.image.width});
      break;
    case InputKind::kNgrams:
      batch.inputs = torch::zeros({4}, at::kLong);
      batch.offsets = torch::tensor({0, 2}, at::kLong);
      break;
    case InputKind::kTokens:
      batch.inputs = torch::zeros({2, length}, at::kLong);
      batch.mask = torch::ones({2, length});
      break;
  }
  return batch;
}

absl::Status Probe(ScriptModule& module, const recipes::Recipe& recipe, const DataTraits& traits) {
  return CatchTorch("forward on two examples of zeros", [&]() -> absl::Status {
    torch::NoGradGuard no_grad;
    module.SetTraining(false);
    const Batch batch = ProbeOf(recipe, traits);
    at::Tensor out = module.Forward(batch);
    module.SetTraining(true);
    const bool classes = out.dim() == 2 && out.size(0) == 2 && out.size(1) == recipe.model.classes;
    const bool tokens = traits.input == InputKind::kTokens && out.dim() == 3 && out.size(0) == 2 &&
                        out.size(1) == batch.inputs.size(1) &&
                        out.size(2) >= static_cast<int64_t>(traits.vocabulary);
    if (out.scalar_type() == at::kFloat && (classes || tokens)) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("forward gives ", out.toString(), " of shape ", c10::str(out.sizes()),
                     " for two examples; it must be float32 [2, ", recipe.model.classes,
                     "] (model.classes), or [2, length, vocabulary] for tokens"));
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Body>> MakeTorchScript(const recipes::Recipe& recipe,
                                                      const DataTraits& traits) {
  const std::filesystem::path path = recipe.model.file;
  if (recipe.model.lora.rank > 0) {
    return absl::InvalidArgumentError(
        "model.lora.rank: a torchscript module's layers take no adapters");
  }
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error))
    return absl::NotFoundError(absl::StrCat("model.file: there is no file ", path.string()));
  auto made = CatchTorch("loading it", [&]() -> absl::StatusOr<std::unique_ptr<ScriptModule>> {
    torch::jit::Module module = torch::jit::load(path.string(), at::kCPU);
    ATOLL_RETURN_IF_ERROR(CheckTensors(module));
    if (!module.find_method("forward"))
      return absl::InvalidArgumentError("the module has no method forward");
    auto body = std::make_unique<ScriptModule>(std::move(module), path.filename().string());
    ATOLL_RETURN_IF_ERROR(Probe(*body, recipe, traits));
    return body;
  });
  if (made.ok()) return std::move(*made);
  return absl::InvalidArgumentError(
      absl::StrCat("model.file: ", path.string(), ": ", made.status().message()));
}

}  // namespace atl::trainer

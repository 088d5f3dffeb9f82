// model-roundtrip REFERENCE FOLDER: takes one step of gradient descent from a case of references/models,
// writes the model to FOLDER as a training does, and beside it outputs.json, what Atoll makes of
// the case's batch. transformers_test.py compares.
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdio>
#include <fstream>

#include "tests/trainer/references.h"
#include "trainer/export/model_folder.h"
#include "trainer/model/network.h"

namespace atl::trainer {
namespace {

constexpr double kStep = 0.05;

absl::Status Run(const std::string& name, const std::filesystem::path& folder) {
  const nlohmann::json reference = ReadReference(name);
  const recipes::Recipe recipe = RecipeOf(reference);
  const DataTraits traits = TraitsOfReference(reference);
  auto network = Network::Create(recipe, traits);
  if (!network.ok()) return network.status();
  const std::vector<NamedTensor> parameters = (*network)->body().Parameters();
  if (recipe.model.weights.empty()) FillByFormula(parameters, {});
  const Batch batch = BatchOf(reference);
  (*network)->Run(batch).objective.backward();
  torch::NoGradGuard no_grad;
  for (const at::Tensor& parameter : (*network)->parameters()) {
    at::Tensor tensor = parameter;
    if (parameter.grad().defined()) tensor.sub_(parameter.grad(), kStep);
  }
  if (absl::Status status = WriteModelFolder(folder, recipe, traits, **network); !status.ok())
    return status;
  const at::Tensor outputs = (*network)->Forward(batch).contiguous();
  const float* values = outputs.const_data_ptr<float>();
  nlohmann::json json = {{"shape", outputs.sizes().vec()},
                         {"values", std::vector<float>(values, values + outputs.numel())}};
  std::ofstream(folder / "outputs.json") << json;
  return absl::OkStatus();
}

}  // namespace
}  // namespace atl::trainer

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: model-roundtrip REFERENCE FOLDER\n");
    return 2;
  }
  const absl::Status status = atl::trainer::Run(argv[1], argv[2]);
  if (status.ok()) return 0;
  std::fprintf(stderr, "model-roundtrip: %s\n", std::string(status.message()).c_str());
  return 1;
}

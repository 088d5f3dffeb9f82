// Weights from elsewhere: a folder's model.safetensors into a model's parameters, by name.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/model/body.h"

namespace atl::trainer {

struct LoadedWeights {
  std::vector<std::string> fresh;   // parameters that keep their initial values
  std::vector<std::string> unused;  // tensors of the file that no parameter takes
  // "3 parameters begin anew (classifier.bias, ...); 1 tensor is not used (...)", or empty.
  std::string Text() const;
};

// Copies what folder/model.safetensors holds (any float type) into `parameters`, in place. A tensor
// is found by its name, with or without the body's prefix ("bert.", "model.",
// "roberta_prelayernorm."), and under BERT's first names (LayerNorm.gamma and beta).
// NOT_FOUND names what is not there; INVALID_ARGUMENT names file and tensor: one that is missing
// although the parameter may not be new, of another shape, or with a value that is not finite.
// The parameters are unchanged after any error but the last. Throws what torch throws.
absl::StatusOr<LoadedWeights> LoadWeights(const std::filesystem::path& folder,
                                          const std::vector<NamedTensor>& parameters);

}  // namespace atl::trainer

#include <algorithm>
#include <cstdio>

#include "comms/base/status.h"
#include "recipes/schema/load.h"
#include "trainer/export/model_folder.h"
#include "trainer/export/safetensors.h"
#include "trainer/modes/modes.h"

namespace atl::trainer {
namespace {

absl::Status Export(const ExportOptions& options) {
  ATOLL_ASSIGN_OR_RETURN(recipes::Recipe recipe,
                         recipes::LoadRecipe(options.recipe, options.overrides));
  ATOLL_ASSIGN_OR_RETURN(DataTraits traits, TraitsOf(recipe));
  ATOLL_ASSIGN_OR_RETURN(auto network, Network::Create(recipe, traits));
  ATOLL_ASSIGN_OR_RETURN(TensorFile trained, ReadSafetensors(options.trained));
  if (trained.tensors != network->tensors()) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.trained, ": its ", trained.tensors.size(),
                     " tensors are not the ones that the recipe's model trains (",
                     network->tensors().size(), ")"));
  }
  std::copy(trained.values.begin(), trained.values.end(), network->values().begin());
  return WriteModelFolder(options.out, recipe, traits, *network);
}

}  // namespace

int RunExport(const ExportOptions& options) {
  absl::Status status = Export(options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "atoll-trainer: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace atl::trainer

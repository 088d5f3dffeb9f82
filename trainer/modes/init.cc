#include <cstdio>

#include "comms/base/status.h"
#include "recipes/schema/load.h"
#include "trainer/export/model_folder.h"
#include "trainer/modes/modes.h"

namespace atl::trainer {
namespace {

absl::Status Init(const InitOptions& options) {
  ATOLL_ASSIGN_OR_RETURN(recipes::Recipe recipe,
                         recipes::LoadRecipe(options.recipe, options.overrides));
  ATOLL_ASSIGN_OR_RETURN(DataTraits traits, TraitsOf(recipe));
  ATOLL_ASSIGN_OR_RETURN(auto network, Network::Create(recipe, traits));
  if (!network->loaded_text().empty()) {
    std::fprintf(stderr, "atoll-trainer: %s: %s\n", recipe.model.weights.c_str(),
                 network->loaded_text().c_str());
  }
  return WriteTrainedFolder(options.out, recipe, traits, *network);
}

}  // namespace

int RunInit(const InitOptions& options) {
  absl::Status status = Init(options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "atoll-trainer: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace atl::trainer

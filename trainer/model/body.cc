#include "trainer/model/body.h"

#include "comms/base/status.h"
#include "trainer/model/image_net.h"

namespace atl::trainer {

absl::StatusOr<std::unique_ptr<Body>> MakeBody(const recipes::Recipe& recipe,
                                               const DataTraits& traits) {
  switch (recipe.model.kind) {
    case recipes::ModelKind::kMlp:
    case recipes::ModelKind::kCnn:
      return MakeImageNet(recipe, traits);
    default:
      break;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("model.kind: ", ToString(recipe.model.kind), " is not in this trainer"));
}

}  // namespace atl::trainer

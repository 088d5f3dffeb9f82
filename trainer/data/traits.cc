#include "trainer/data/traits.h"

#include "comms/base/status.h"
#include "trainer/data/image_set.h"
#include "trainer/data/text_datasets.h"

namespace atl::trainer {

absl::StatusOr<DataTraits> TraitsOf(const recipes::Recipe& recipe) {
  if (!IsOfImages(recipe.data.dataset)) return TextTraitsOf(recipe);
  DataTraits traits;
  ATOLL_ASSIGN_OR_RETURN(traits.image, ShapeOf(recipe.data));
  ATOLL_ASSIGN_OR_RETURN(traits.normalisation, NormalisationOf(recipe.data));
  return traits;
}

}  // namespace atl::trainer

#include "trainer/data/dataset.h"

#include "comms/base/status.h"
#include "trainer/data/image_dataset.h"
#include "trainer/data/text_datasets.h"

namespace atl::trainer {

absl::StatusOr<std::unique_ptr<Dataset>> LoadDataset(const recipes::Recipe& recipe, Split split) {
  if (!IsOfImages(recipe.data.dataset)) {
    return recipe.model.kind == recipes::ModelKind::kTextClassifier
               ? LoadNgramDataset(recipe, split)
               : LoadTokenDataset(recipe, split);
  }
  ATOLL_ASSIGN_OR_RETURN(ImageSet images, LoadImageSet(recipe.data, split));
  if (images.classes > static_cast<uint32_t>(recipe.model.classes)) {
    return absl::InvalidArgumentError(absl::StrCat("model.classes: ", recipe.model.classes,
                                                   " must be at least the data set's ",
                                                   images.classes));
  }
  return MakeImageDataset(std::move(images));
}

}  // namespace atl::trainer

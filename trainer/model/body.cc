#include "trainer/model/body.h"

#include "trainer/model/decoder.h"
#include "trainer/model/encoder.h"
#include "trainer/model/image_net.h"
#include "trainer/model/resnet18.h"
#include "trainer/model/text_classifier.h"
#include "trainer/model/torchscript.h"

namespace atl::trainer {

absl::StatusOr<std::unique_ptr<Body>> MakeBody(const recipes::Recipe& recipe,
                                               const DataTraits& traits) {
  switch (recipe.model.kind) {
    case recipes::ModelKind::kMlp:
    case recipes::ModelKind::kCnn:
      return MakeImageNet(recipe, traits);
    case recipes::ModelKind::kResnet18:
      return MakeResnet18(recipe, traits);
    case recipes::ModelKind::kTextClassifier:
      return MakeTextClassifier(recipe, traits);
    case recipes::ModelKind::kEncoder:
      return MakeEncoder(recipe, traits);
    case recipes::ModelKind::kDecoder:
      return MakeDecoder(recipe, traits);
    case recipes::ModelKind::kTorchScript:
      return MakeTorchScript(recipe, traits);
  }
  return absl::InvalidArgumentError("model.kind: none that this trainer knows");
}

}  // namespace atl::trainer

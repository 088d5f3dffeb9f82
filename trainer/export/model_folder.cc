#include "trainer/export/model_folder.h"

#include "comms/base/files.h"
#include "comms/base/status.h"
#include "trainer/export/model_config.h"
#include "trainer/export/safetensors.h"

namespace atl::trainer {

absl::Status WriteModelFolder(const std::filesystem::path& folder, const recipes::Recipe& recipe,
                              const Network& network) {
  ATOLL_RETURN_IF_ERROR(MakeFolder(folder));
  ATOLL_ASSIGN_OR_RETURN(Normalisation normalisation, NormalisationOf(recipe.data));
  std::string config = ModelConfigJson(network.architecture(), normalisation, recipe.data.dataset);
  ATOLL_RETURN_IF_ERROR(WriteFileAtomic(folder / "config.json", AsBytes(config)));
  return WriteSafetensors(folder / "model.safetensors", network.tensors(), network.values());
}

}  // namespace atl::trainer

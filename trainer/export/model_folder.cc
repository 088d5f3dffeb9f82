#include "trainer/export/model_folder.h"

#include "comms/base/files.h"
#include "comms/base/status.h"
#include "nlohmann/json.hpp"
#include "trainer/export/model_config.h"
#include "trainer/export/safetensors.h"

namespace atl::trainer {

absl::Status WriteModelFolder(const std::filesystem::path& folder, const recipes::Recipe& recipe,
                              const DataTraits& traits, const Network& network) {
  ATOLL_RETURN_IF_ERROR(MakeFolder(folder));
  nlohmann::ordered_json config = network.body().Config();
  AddData(config, traits, recipe.data.dataset);
  ATOLL_RETURN_IF_ERROR(WriteFileAtomic(folder / "config.json", AsBytes(config.dump(2) + "\n")));
  return WriteSafetensors(folder / "model.safetensors", network.tensors(), network.values());
}

}  // namespace atl::trainer

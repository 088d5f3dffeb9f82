#include "trainer/export/model_folder.h"

#include <torch/types.h>

#include <vector>

#include "comms/base/files.h"
#include "comms/base/status.h"
#include "nlohmann/json.hpp"
#include "trainer/export/model_config.h"
#include "trainer/export/safetensors.h"
#include "trainer/torch_status.h"

namespace atl::trainer {

namespace {

constexpr uint64_t kMaxTokenizerBytes = 64 << 20;

absl::Status WriteConfig(const std::filesystem::path& folder, const recipes::Recipe& recipe,
                         const DataTraits& traits, const Network& network) {
  ATOLL_RETURN_IF_ERROR(MakeFolder(folder));
  nlohmann::ordered_json config = network.body().Config();
  AddData(config, traits, recipe.data.dataset);
  return WriteFileAtomic(folder / "config.json", AsBytes(config.dump(2) + "\n"));
}

// vocab.txt is the name that transformers looks for, tokenizer.model that of sentencepiece.
absl::Status CopyTokenizer(const std::filesystem::path& folder, const recipes::Tokenizer& options) {
  if (options.kind == recipes::TokenizerKind::kBytes || options.file.empty())
    return absl::OkStatus();
  const bool wordpiece = options.kind == recipes::TokenizerKind::kWordPiece;
  ATOLL_ASSIGN_OR_RETURN(Bytes bytes, ReadFile(options.file, kMaxTokenizerBytes));
  return WriteFileAtomic(folder / (wordpiece ? "vocab.txt" : "tokenizer.model"), bytes);
}

}  // namespace

absl::Status WriteModelFolder(const std::filesystem::path& folder, const recipes::Recipe& recipe,
                              const DataTraits& traits, const Network& network) {
  ATOLL_RETURN_IF_ERROR(WriteConfig(folder, recipe, traits, network));
  if (traits.input == InputKind::kTokens) {
    ATOLL_RETURN_IF_ERROR(CopyTokenizer(folder, recipe.data.tokenizer));
  }
  return CatchTorch("exporting the model", [&]() -> absl::Status {
    std::vector<TensorInfo> tensors;
    std::vector<float> values;
    for (const NamedTensor& parameter : network.body().Export()) {
      const at::Tensor whole = parameter.tensor.detach().to(at::kCPU).contiguous();
      const size_t elements = static_cast<size_t>(whole.numel());
      tensors.push_back({parameter.name, whole.sizes().vec(), values.size(), elements});
      const float* data = whole.const_data_ptr<float>();
      values.insert(values.end(), data, data + elements);
    }
    return WriteSafetensors(folder / "model.safetensors", tensors, values);
  });
}

absl::Status WriteTrainedFolder(const std::filesystem::path& folder, const recipes::Recipe& recipe,
                                const DataTraits& traits, const Network& network) {
  ATOLL_RETURN_IF_ERROR(WriteConfig(folder, recipe, traits, network));
  return WriteSafetensors(folder / "model.safetensors", network.tensors(), network.values());
}

}  // namespace atl::trainer

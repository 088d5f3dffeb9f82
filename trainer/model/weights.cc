#include "trainer/model/weights.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "comms/base/status.h"
#include "trainer/export/safetensors.h"

namespace atl::trainer {
namespace {

constexpr size_t kNamesShown = 8;
constexpr const char* kPrefixes[] = {"bert.", "roberta_prelayernorm.", "model."};

// The names under which a file may hold a parameter, the likeliest first.
std::vector<std::string> NamesOf(const std::string& name) {
  std::vector<std::string> names = {name};
  for (const std::string prefix : kPrefixes) {
    names.push_back(absl::StartsWith(name, prefix) ? name.substr(prefix.size()) : prefix + name);
  }
  const size_t modern = names.size();
  for (size_t i = 0; i < modern; ++i) {
    for (const auto& [ending, old] :
         {std::pair<std::string, std::string>{"LayerNorm.weight", "LayerNorm.gamma"},
          {"LayerNorm.bias", "LayerNorm.beta"}}) {
      if (absl::EndsWith(names[i], ending))
        names.push_back(names[i].substr(0, names[i].size() - ending.size()) + old);
    }
  }
  return names;
}

std::string Counted(const std::vector<std::string>& names, const char* one, const char* many) {
  const size_t shown = std::min(names.size(), kNamesShown);
  std::string text =
      absl::StrCat(names.size(), names.size() == 1 ? one : many, " (",
                   absl::StrJoin(names.begin(), names.begin() + static_cast<long>(shown), ", "));
  return text + (shown < names.size() ? ", ...)" : ")");
}

std::string ShapeText(at::IntArrayRef shape) {
  return absl::StrCat("[", absl::StrJoin(shape.begin(), shape.end(), ", "), "]");
}

}  // namespace

std::string LoadedWeights::Text() const {
  std::string text;
  if (!fresh.empty()) text = Counted(fresh, " parameter begins anew", " parameters begin anew");
  if (unused.empty()) return text;
  return absl::StrCat(text, text.empty() ? "" : "; ",
                      Counted(unused, " tensor is not used", " tensors are not used"));
}

absl::StatusOr<LoadedWeights> LoadWeights(const std::filesystem::path& folder,
                                          const std::vector<NamedTensor>& parameters) {
  const std::filesystem::path path = folder / "model.safetensors";
  ATOLL_ASSIGN_OR_RETURN(TensorFile file, ReadSafetensors(path));
  std::map<std::string, const TensorInfo*> unused;
  for (const TensorInfo& info : file.tensors) unused[info.name] = &info;
  const size_t held = unused.size();
  auto bad = [&](const std::string& name, const std::string& why) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), ": tensor '", name.substr(0, 200), "' ", why));
  };

  LoadedWeights loaded;
  std::vector<std::pair<at::Tensor, const TensorInfo*>> pairs;
  for (const NamedTensor& parameter : parameters) {
    const TensorInfo* info = nullptr;
    for (const std::string& name : NamesOf(parameter.name)) {
      auto found = unused.find(name);
      if (found == unused.end()) continue;
      info = found->second;
      unused.erase(found);
      break;
    }
    if (info == nullptr) {
      if (!parameter.may_be_new) {
        return bad(parameter.name, absl::StrCat("of shape ", ShapeText(parameter.tensor.sizes()),
                                                " is not among the ", held, " that it holds"));
      }
      loaded.fresh.push_back(parameter.name);
      continue;
    }
    if (parameter.tensor.sizes() != at::IntArrayRef(info->shape)) {
      return bad(info->name,
                 absl::StrCat("has shape ", ShapeText(info->shape), ", and the model's ",
                              parameter.name, " has ", ShapeText(parameter.tensor.sizes())));
    }
    pairs.emplace_back(parameter.tensor, info);
  }

  torch::NoGradGuard no_grad;
  for (auto& [tensor, info] : pairs) {
    tensor.copy_(torch::from_blob(file.values.data() + info->offset, info->shape));
    if (!tensor.isfinite().all().item<bool>())
      return bad(info->name, "holds a value that is not finite");
  }
  for (const auto& [name, info] : unused) loaded.unused.push_back(name);
  return loaded;
}

}  // namespace atl::trainer

#include "recipes/schema/recipe.h"

namespace atl::recipes {

std::string ToString(ModelKind kind) { return kind == ModelKind::kMlp ? "mlp" : "cnn"; }

std::string ToString(PartitionKind kind) {
  switch (kind) {
    case PartitionKind::kIid:
      return "iid";
    case PartitionKind::kDirichlet:
      return "dirichlet";
    case PartitionKind::kLabels:
      break;
  }
  return "labels";
}

std::string ToString(OptimizerKind kind) {
  switch (kind) {
    case OptimizerKind::kSgd:
      return "sgd";
    case OptimizerKind::kAdam:
      return "adam";
    case OptimizerKind::kAdamW:
      break;
  }
  return "adamw";
}

std::string ToString(Backend backend) { return backend == Backend::kMpi ? "mpi" : "auto"; }

std::string SafeName(const std::string& name) {
  constexpr size_t kMaxLength = 64;
  std::string safe;
  for (unsigned char c : name) {
    // isalnum() would ask the locale.
    const bool alphanumeric =
        (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    const bool keep = alphanumeric || c == '_' || (!safe.empty() && c == '.');
    if (keep) {
      safe.push_back(static_cast<char>(c));
    } else if (!safe.empty() && safe.back() != '-') {
      safe.push_back('-');
    }
    if (safe.size() == kMaxLength) break;
  }
  while (!safe.empty() && (safe.back() == '-' || safe.back() == '.')) safe.pop_back();
  return safe.empty() ? "recipe" : safe;
}

}  // namespace atl::recipes

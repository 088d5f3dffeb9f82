#include "recipes/schema/recipe.h"

namespace atl::recipes {

std::string ToString(ModelKind kind) {
  switch (kind) {
    case ModelKind::kMlp:
      return "mlp";
    case ModelKind::kCnn:
      return "cnn";
    case ModelKind::kResnet18:
      return "resnet18";
    case ModelKind::kTextClassifier:
      return "text-classifier";
    case ModelKind::kEncoder:
      return "encoder";
    case ModelKind::kDecoder:
      return "decoder";
    case ModelKind::kTorchScript:
      return "torchscript";
  }
  return "";
}

std::string ToString(EncoderTask task) {
  switch (task) {
    case EncoderTask::kMaskedLm:
      return "masked_lm";
    case EncoderTask::kClassify:
      return "classify";
    case EncoderTask::kContrastive:
      return "contrastive";
  }
  return "";
}

std::string ToString(NormPlace place) {
  switch (place) {
    case NormPlace::kPost:
      return "post";
    case NormPlace::kPre:
      return "pre";
  }
  return "";
}

std::string ToString(DatasetKind kind) {
  switch (kind) {
    case DatasetKind::kFashionMnist:
      return "fashion-mnist";
    case DatasetKind::kIdx:
      return "idx";
    case DatasetKind::kCifar10:
      return "cifar10";
    case DatasetKind::kCsv:
      return "csv";
    case DatasetKind::kJsonLines:
      return "jsonl";
    case DatasetKind::kTextFolders:
      return "text-folders";
    case DatasetKind::kTokens:
      return "tokens";
  }
  return "";
}

std::string ToString(TokenizerKind kind) {
  switch (kind) {
    case TokenizerKind::kBytes:
      return "bytes";
    case TokenizerKind::kWordPiece:
      return "wordpiece";
    case TokenizerKind::kSentencePiece:
      return "sentencepiece";
  }
  return "";
}

std::string ToString(PartitionKind kind) {
  switch (kind) {
    case PartitionKind::kIid:
      return "iid";
    case PartitionKind::kDirichlet:
      return "dirichlet";
    case PartitionKind::kLabels:
      return "labels";
    case PartitionKind::kBySite:
      return "by_site";
  }
  return "";
}

std::string ToString(OptimizerKind kind) {
  switch (kind) {
    case OptimizerKind::kSgd:
      return "sgd";
    case OptimizerKind::kAdam:
      return "adam";
    case OptimizerKind::kAdamW:
      return "adamw";
  }
  return "";
}

std::string ToString(ScheduleKind kind) {
  switch (kind) {
    case ScheduleKind::kConstant:
      return "constant";
    case ScheduleKind::kLinear:
      return "linear";
    case ScheduleKind::kCosine:
      return "cosine";
  }
  return "";
}

std::string ToString(Precision precision) {
  switch (precision) {
    case Precision::kFp32:
      return "fp32";
    case Precision::kBf16:
      return "bf16";
  }
  return "";
}

std::string ToString(Backend backend) {
  switch (backend) {
    case Backend::kAuto:
      return "auto";
    case Backend::kMpi:
      return "mpi";
    case Backend::kNccl:
      return "nccl";
  }
  return "";
}

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

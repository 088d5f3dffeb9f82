#include "recipes/schema/checks.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "recipes/schema/values.h"

namespace atl::recipes {
namespace {

constexpr int kSecureSitesMin = 3;
constexpr int kImageClasses = 10;  // of Fashion-MNIST, and of CIFAR-10

std::string MomentumIsSgds(const Recipe& r) {
  const Optimizer& optimizer = r.train.optimizer;
  if (optimizer.kind == OptimizerKind::kSgd || optimizer.momentum == 0) return "";
  return absl::StrCat(FormatValue(optimizer.momentum), " must be 0 or left out with ",
                      "train.optimizer.kind: ", ToString(optimizer.kind), "; momentum is sgd's");
}

std::string LabelsAreClasses(const Recipe& r) {
  if (r.data.partition.kind != PartitionKind::kLabels) return "";
  if (r.data.partition.labels <= r.model.classes) return "";
  return absl::StrCat(r.data.partition.labels, " must be <= model.classes, which is ",
                      r.model.classes);
}

std::string ClassesAreTheDataSets(const Recipe& r) {
  const bool of_ten =
      r.data.dataset == DatasetKind::kFashionMnist || r.data.dataset == DatasetKind::kCifar10;
  if (!of_ten || r.model.classes == kImageClasses) return "";
  return absl::StrCat(r.model.classes, " must be ", kImageClasses,
                      " with data.dataset: ", ToString(r.data.dataset));
}

bool IsOfImages(DatasetKind kind) {
  return kind == DatasetKind::kFashionMnist || kind == DatasetKind::kIdx ||
         kind == DatasetKind::kCifar10;
}

std::string ModelReadsTheData(const Recipe& r) {
  const std::string kind = ToString(r.model.kind), dataset = ToString(r.data.dataset);
  switch (r.model.kind) {
    case ModelKind::kMlp:
    case ModelKind::kCnn:
    case ModelKind::kResnet18:
      if (IsOfImages(r.data.dataset)) return "";
      return absl::StrCat(kind, " reads images, and data.dataset is ", dataset);
    case ModelKind::kTextClassifier:
      if (!IsOfImages(r.data.dataset) && r.data.dataset != DatasetKind::kTokens) return "";
      return absl::StrCat(kind, " reads texts, and data.dataset is ", dataset);
    case ModelKind::kEncoder:
    case ModelKind::kDecoder:
      if (!IsOfImages(r.data.dataset)) return "";
      return absl::StrCat(kind, " reads texts or tokens, and data.dataset is ", dataset);
    case ModelKind::kTorchScript:
      break;  // what it reads is its own affair
  }
  return "";
}

std::string FolderIsNamed(const Recipe& r) {
  if (r.data.dataset == DatasetKind::kFashionMnist || !r.data.folder.empty()) return "";
  return absl::StrCat("must name the folder of the files with data.dataset: ",
                      ToString(r.data.dataset));
}

std::string TokensAreForLanguageModels(const Recipe& r) {
  if (r.data.dataset != DatasetKind::kTokens || r.model.kind != ModelKind::kEncoder) return "";
  if (r.model.task == EncoderTask::kMaskedLm) return "";
  return absl::StrCat(ToString(r.model.task),
                      " takes texts: with data.dataset: tokens, only masked_lm will do");
}

std::string TokenizerHasItsFile(const Recipe& r) {
  const bool used = (r.model.kind == ModelKind::kEncoder || r.model.kind == ModelKind::kDecoder) &&
                    r.data.dataset != DatasetKind::kTokens;
  if (!used || r.data.tokenizer.kind == TokenizerKind::kBytes || !r.data.tokenizer.file.empty())
    return "";
  return absl::StrCat("must name the file of data.tokenizer.kind: ",
                      ToString(r.data.tokenizer.kind));
}

std::string ModuleHasItsFile(const Recipe& r) {
  if (r.model.kind != ModelKind::kTorchScript || !r.model.file.empty()) return "";
  return "must name the module's file with model.kind: torchscript";
}

std::string BySiteHasItsField(const Recipe& r) {
  if (r.data.partition.kind != PartitionKind::kBySite) return "";
  if (r.data.dataset != DatasetKind::kCsv && r.data.dataset != DatasetKind::kJsonLines) {
    return absl::StrCat("by_site takes csv or jsonl, and data.dataset is ",
                        ToString(r.data.dataset));
  }
  return r.data.site_field.empty() ? "by_site needs data.site_field" : "";
}

std::string HeadsFit(const Recipe& r) {
  const Model& m = r.model;
  const bool sized =
      (m.kind == ModelKind::kEncoder || m.kind == ModelKind::kDecoder) && m.weights.empty();
  if (!sized) return "";
  if (m.hidden_size % m.heads != 0)
    return absl::StrCat(m.heads, " must divide model.hidden_size, which is ", m.hidden_size);
  if (m.kind != ModelKind::kDecoder) return "";
  if (m.hidden_size / m.heads % 2 != 0) {
    return absl::StrCat(m.heads, " leaves heads of ", m.hidden_size / m.heads,
                        " values; a decoder's must have an even number");
  }
  if (m.kv_heads == 0 || m.heads % m.kv_heads == 0) return "";
  return absl::StrCat(m.heads, " must be a multiple of model.kv_heads, which is ", m.kv_heads);
}

std::string AdaptersHaveLayers(const Recipe& r) {
  if (r.model.kind != ModelKind::kEncoder && r.model.kind != ModelKind::kDecoder) return "";
  if (r.model.lora.rank == 0 || !r.model.lora.layers.empty()) return "";
  return "must name the layers that get adapters, such as [\"*.query\", \"*.value\"]";
}

std::string LimitFeedsEveryRank(const Recipe& r) {
  const int64_t ranks = int64_t{r.site.count} * r.site.ranks;
  if (r.data.limit == 0 || r.data.limit >= ranks) return "";
  return absl::StrCat(r.data.limit, " must be 0 or >= ", ranks,
                      ", an example for each rank of each site");
}

std::string SecureTakesSites(const Recipe& r) {
  if (!r.secure_aggregation.enabled || r.site.count >= kSecureSitesMin) return "";
  if (r.site.count == 1) {
    return "true needs at least 3 sites, and site.count is 1: set site.count, or set this to false "
           "for plain training on one site, which sends no update to anyone";
  }
  return absl::StrCat("true needs at least 3 sites, and site.count is ", r.site.count,
                      ": from the sum of two, each learns the other's update");
}

std::string SecureTakesCohort(const Recipe& r) {
  if (!r.secure_aggregation.enabled || r.site.count < kSecureSitesMin) return "";
  if (r.federation.cohort_min >= kSecureSitesMin) return "";
  return absl::StrCat(
      r.federation.cohort_min, " must be >= ", kSecureSitesMin,
      " under secure aggregation: from the sum of two sites, each learns the other's "
      "update");
}

std::string GroupsNeedCorrupt(const Recipe& r) {
  const auto& secure = r.secure_aggregation;
  if (!secure.enabled || r.site.count <= secure.group_size_max || secure.corrupt_sites_max > 0)
    return "";
  return absl::StrCat("0 must be >= 1: ", r.site.count, " sites are split into groups of at most ",
                      secure.group_size_max,
                      ", and how large they must be depends on how many sites may collude");
}

std::string CohortIsThere(const Recipe& r) {
  if (r.site.count == 1 || r.federation.cohort_min <= r.site.count) return "";
  return absl::StrCat(r.federation.cohort_min, " must be <= site.count, which is ", r.site.count);
}

}  // namespace

const std::vector<Check>& Checks() {
  static const std::vector<Check>* const checks = new std::vector<Check>{
      {{"train.optimizer.momentum", "train.optimizer.kind"},
       "`train.optimizer.momentum` is for sgd; with the others it is 0.",
       MomentumIsSgds},
      {{"data.partition.labels", "data.partition.kind", "model.classes"},
       "With `data.partition.kind: labels`, `data.partition.labels` is at most `model.classes`.",
       LabelsAreClasses},
      {{"model.classes", "data.dataset"},
       "`model.classes` is 10 with `data.dataset: fashion-mnist` or `cifar10`.",
       ClassesAreTheDataSets},
      {{"model.kind", "data.dataset"},
       "`mlp`, `cnn` and `resnet18` read images; `text-classifier` texts; `encoder` and `decoder` "
       "texts or tokens.",
       ModelReadsTheData},
      {{"model.task", "data.dataset"},
       "An encoder's `model.task` other than `masked_lm` takes texts.",
       TokensAreForLanguageModels},
      {{"data.folder", "data.dataset"},
       "`data.folder` is named, unless `data.dataset` is `fashion-mnist`.",
       FolderIsNamed},
      {{"data.tokenizer.file", "data.tokenizer.kind", "model.kind"},
       "`data.tokenizer.file` is named for wordpiece and sentencepiece.",
       TokenizerHasItsFile},
      {{"model.file", "model.kind"},
       "`model.file` is named with `model.kind: torchscript`.",
       ModuleHasItsFile},
      {{"data.partition.kind", "data.site_field", "data.dataset"},
       "`data.partition.kind: by_site` takes csv or jsonl and a `data.site_field`.",
       BySiteHasItsField},
      {{"model.heads", "model.hidden_size", "model.kv_heads", "model.kind"},
       "`model.heads` divides `model.hidden_size`, and `model.kv_heads` divides `model.heads`; a "
       "decoder's heads have an even width.",
       HeadsFit},
      {{"model.lora.layers", "model.lora.rank"},
       "`model.lora.layers` names layers where `model.lora.rank` is above 0.",
       AdaptersHaveLayers},
      {{"data.limit", "site.count", "site.ranks"},
       "`data.limit`, unless 0, has an example for each rank of each site.",
       LimitFeedsEveryRank},
      {{"privacy.secure_aggregation.enabled", "site.count"},
       "`privacy.secure_aggregation.enabled: true` takes a `site.count` of at least 3; a recipe "
       "for one site "
       "says `false`.",
       SecureTakesSites},
      {{"federation.cohort.min", "privacy.secure_aggregation.enabled", "site.count"},
       "Under secure aggregation `federation.cohort.min` is at least 3.",
       SecureTakesCohort},
      {{"privacy.secure_aggregation.corrupt_sites_max", "privacy.secure_aggregation.group_size_max",
        "site.count"},
       "With more sites than `privacy.secure_aggregation.group_size_max` under secure aggregation, "
       "`privacy.secure_aggregation.corrupt_sites_max` is at least 1.",
       GroupsNeedCorrupt},
      {{"federation.cohort.min", "site.count"},
       "With more than one site, `federation.cohort.min` is at most `site.count`.",
       CohortIsThere},
  };
  return *checks;
}

}  // namespace atl::recipes

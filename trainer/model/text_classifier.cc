#include "trainer/model/text_classifier.h"

#include <torch/types.h>

#include "comms/base/status.h"
#include "nlohmann/json.hpp"
#include "trainer/model/outcome.h"
#include "trainer/model/parameter_set.h"

namespace atl::trainer {
namespace {

constexpr int64_t kMeanMode = 1;  // of embedding_bag

class TextClassifier : public Body {
 public:
  explicit TextClassifier(const recipes::Model& model) : model_(model), set_(model.lora, 0) {
    table_ = set_.AddTable("embedding", model.buckets, model.width);
    fc_ = set_.AddLinear("fc", {.in = model.width, .out = model.classes, .role = Role::kHead});
  }

  absl::Status Check() const { return set_.CheckAdapters(); }
  std::vector<NamedTensor> Parameters() const override { return set_.tensors(); }
  std::vector<NamedTensor> Export() const override { return set_.Merged(); }

  at::Tensor Forward(const Batch& batch) override {
    at::Tensor means =
        std::get<0>(at::embedding_bag(table_, batch.inputs, batch.offsets,
                                      /*scale_grad_by_freq=*/false, kMeanMode, /*sparse=*/false));
    return fc_(means);
  }

  Outcome Run(const Batch& batch) override { return ClassOutcome(Forward(batch), batch.labels); }

  nlohmann::ordered_json Config() const override {
    return {{"model_type", "atoll"},
            {"architecture",
             {{"kind", "text-classifier"},
              {"buckets", model_.buckets},
              {"ngram_max", model_.ngram_max},
              {"width", model_.width}}},
            {"num_classes", model_.classes}};
  }

 private:
  const recipes::Model model_;
  ParameterSet set_;
  at::Tensor table_;
  LinearLayer fc_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Body>> MakeTextClassifier(const recipes::Recipe& recipe,
                                                         const DataTraits& traits) {
  if (traits.input != InputKind::kNgrams) {
    return absl::InvalidArgumentError(
        "model.kind: text-classifier reads bags of n-grams; the data are none");
  }
  auto body = std::make_unique<TextClassifier>(recipe.model);
  ATOLL_RETURN_IF_ERROR(body->Check());
  return body;
}

}  // namespace atl::trainer

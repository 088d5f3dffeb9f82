#include "trainer/model/outcome.h"

#include <torch/types.h>

namespace atl::trainer {

Outcome ClassOutcome(const at::Tensor& logits, const at::Tensor& labels) {
  Outcome outcome;
  outcome.objective = at::cross_entropy_loss(logits, labels, {}, at::Reduction::Sum);
  outcome.counted = static_cast<uint64_t>(labels.numel());
  outcome.correct =
      static_cast<uint64_t>(logits.detach().argmax(1).eq(labels).sum().item<int64_t>());
  outcome.loss_sum = outcome.objective.item<float>();
  return outcome;
}

Outcome TokenOutcome(const at::Tensor& logits, const at::Tensor& labels) {
  const int64_t n = labels.size(0), length = labels.size(1);
  at::Tensor each = at::cross_entropy_loss(logits.reshape({n * length, -1}), labels.flatten(), {},
                                           at::Reduction::None, kNotCounted)
                        .view({n, length});
  at::Tensor counted = labels.ne(kNotCounted);
  at::Tensor per_example = counted.sum(1).clamp_min(1);
  Outcome outcome;
  outcome.objective = (each.sum(1) / per_example).sum();
  outcome.counted = static_cast<uint64_t>(counted.sum().item<int64_t>());
  outcome.correct =
      static_cast<uint64_t>(logits.detach().argmax(2).eq(labels).sum().item<int64_t>());
  outcome.loss_sum = each.detach().sum().item<float>();
  return outcome;
}

}  // namespace atl::trainer

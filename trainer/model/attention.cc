#include "trainer/model/attention.h"

#include <torch/types.h>

namespace atl::trainer {
namespace {

// Hidden to softmax, and finite in bfloat16 too: a row of padding alone gives no NaN.
constexpr double kHidden = -1e9;

at::Tensor RepeatHeads(const at::Tensor& x, int64_t heads) {
  const int64_t times = heads / x.size(1);
  if (times == 1) return x;
  const int64_t n = x.size(0), own = x.size(1), length = x.size(2), width = x.size(3);
  return x.unsqueeze(2).expand({n, own, times, length, width}).reshape({n, heads, length, width});
}

}  // namespace

at::Tensor SplitHeads(const at::Tensor& x, int64_t heads) {
  return x.view({x.size(0), x.size(1), heads, -1}).transpose(1, 2);
}

at::Tensor MergeHeads(const at::Tensor& x) { return x.transpose(1, 2).flatten(2); }

at::Tensor Attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                  const at::Tensor& mask, bool causal) {
  const int64_t heads = query.size(1);
  std::optional<at::Tensor> scores;
  if (mask.defined()) scores = mask;
  return at::scaled_dot_product_attention(query, RepeatHeads(key, heads), RepeatHeads(value, heads),
                                          scores, /*dropout_p=*/0.0, causal);
}

at::Tensor ScoresOfMask(const at::Tensor& mask) {
  if (!mask.defined()) return {};
  return ((1.0 - mask) * kHidden).unsqueeze(1).unsqueeze(1);
}

Outcome LanguageOutcome(const at::Tensor& hidden, const at::Tensor& labels,
                        const std::function<at::Tensor(const at::Tensor&)>& head) {
  const int64_t n = labels.size(0), length = labels.size(1);
  at::Tensor counts = labels.ne(kNotCounted);
  at::Tensor places = counts.flatten().nonzero().squeeze(1);  // [k], of the n * length positions
  at::Tensor targets = labels.flatten().index_select(0, places);
  // float32 also under autocast.
  at::Tensor logits = head(hidden.reshape({n * length, -1}).index_select(0, places)).to(at::kFloat);
  at::Tensor each = at::cross_entropy_loss(logits, targets, {}, at::Reduction::None);
  // A position's share in its example's mean.
  at::Tensor share =
      counts.sum(1).clamp_min(1).reciprocal().index_select(0, places.div(length, "floor"));
  Outcome outcome;
  outcome.objective = (each * share).sum();
  outcome.counted = static_cast<uint64_t>(places.numel());
  outcome.correct =
      static_cast<uint64_t>(logits.detach().argmax(1).eq(targets).sum().item<int64_t>());
  outcome.loss_sum = each.detach().sum().item<float>();
  return outcome;
}

}  // namespace atl::trainer

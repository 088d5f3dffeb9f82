// What encoder and decoder share: attention over heads, and losses over the tokens that count.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "trainer/model/body.h"

namespace atl::trainer {

// [n, length, heads * width] -> [n, heads, length, width] and back.
at::Tensor SplitHeads(const at::Tensor& x, int64_t heads);
at::Tensor MergeHeads(const at::Tensor& x);

// Scaled dot product attention over [n, heads, length, width]; each of the keys' and values' heads,
// whose number divides that of the queries', serves an equal run of them. mask: added to the
// scores, [n, 1, 1, length], or undefined.
at::Tensor Attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                  const at::Tensor& mask, bool causal);

// What Attend adds for a Batch's mask (float32 [n, length], or undefined).
at::Tensor ScoresOfMask(const at::Tensor& mask);

// The outcome of a language model: as TokenOutcome's, but `head` (rows of hidden [k, width] to
// logits [k, vocabulary]) is asked only for positions whose label counts.
Outcome LanguageOutcome(const at::Tensor& hidden, const at::Tensor& labels,
                        const std::function<at::Tensor(const at::Tensor&)>& head);

}  // namespace atl::trainer

// torchscript: a module that was made in Python, trained as it is.
#pragma once

#include "trainer/model/body.h"

namespace atl::trainer {

// Loads model.file (torch.jit.save). The module has
//   forward(inputs), or forward(inputs, mask) for tokens, forward(inputs, offsets) for n-grams:
//     a Batch's tensors; gives logits float32 [n, classes], or [n, length, vocabulary] where labels
//     stand for tokens;
//   loss(outputs, labels), if it likes: a scalar, the mean over the batch's examples, of what
//     forward gave; else the loss is the cross entropy, as for other models.
// Its parameters are its named_parameters(), all float32. Buffers are refused: they would not be
// part of what sites add up. A constant may be a plain tensor attribute; in place of batch norm
// take group norm. Runs without the graph optimiser, so that the first step computes what later
// ones do. NOT_FOUND when there is no such file; INVALID_ARGUMENT naming the file when it holds no
// module, a parameter or buffer does not fit, or forward fails on a batch of zeros or gives another
// shape.
absl::StatusOr<std::unique_ptr<Body>> MakeTorchScript(const recipes::Recipe& recipe,
                                                      const DataTraits& traits);

}  // namespace atl::trainer

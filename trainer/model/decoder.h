// decoder: the Llama family (Touvron et al., 2302.13971), for causal language modelling.
#pragma once

#include "trainer/model/body.h"

namespace atl::trainer {

// Names, layout and arithmetic of transformers' LlamaForCausalLM: RMSNorm, rotary positions (the
// two halves of a head are rotated against each other, theta 10000), grouped-query attention,
// SwiGLU. Padding stands at the end of a row, so that no token sees it. From a recipe the output
// layer's weight is the table of tokens (tied); with model.weights that, and all sizes, are as its
// config.json says. NOT_FOUND or INVALID_ARGUMENT for config.json; INVALID_ARGUMENT when the data
// are no tokens, have more ids than the table rows, or are longer than max_position_embeddings.
absl::StatusOr<std::unique_ptr<Body>> MakeDecoder(const recipes::Recipe& recipe,
                                                  const DataTraits& traits);

}  // namespace atl::trainer

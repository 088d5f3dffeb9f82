// encoder: BERT (Devlin et al., 1810.04805) and its pre-norm kin, for three tasks.
#pragma once

#include "trainer/model/body.h"

namespace atl::trainer {

// Names, layout and arithmetic of transformers' BertModel (model.norm: post) or
// RobertaPreLayerNormModel (pre), without dropout:
//   masked_lm    ...ForMaskedLM; the output layer's weight is the table of tokens
//   classify     ...ForSequenceClassification, from the first token
//   contrastive  ...Model; a text's embedding is the mean of its tokens' outputs, of length 1. Each
//                first text is to find its partner among the second texts of the same batch:
//                cross entropy of cosines / model.temperature (van den Oord et al., 1807.03748), so
//                that the loss depends on batch_size.
// With model.weights, sizes and norm are those of its config.json, else the recipe's. Adapters go
// to linear layers; heads (cls, lm_head, classifier) are trained beside them. NOT_FOUND or
// INVALID_ARGUMENT for config.json; INVALID_ARGUMENT when the data are no tokens, have more ids
// than the table rows, or are longer than its positions.
absl::StatusOr<std::unique_ptr<Body>> MakeEncoder(const recipes::Recipe& recipe,
                                                  const DataTraits& traits);

}  // namespace atl::trainer

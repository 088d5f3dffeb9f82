// Texts and tokens as data sets.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "recipes/schema/recipe.h"
#include "trainer/data/dataset.h"

namespace atl::trainer {

// For text-classifier: bags of hashed n-grams of 1 to model.ngram_max characters (ngrams.h), below
// model.buckets.
absl::StatusOr<std::unique_ptr<Dataset>> LoadNgramDataset(const recipes::Recipe& recipe,
                                                          Split split);

// For encoder and decoder, and torchscript (on texts as classify, on shards as decoder): tokens, at
// most model.max_length of an example. Rows are as long as the longest of their batch. [CLS] and
// [SEP] stand for the tokenizer's begin and end; where it has none, nothing stands there.
//   classify     [CLS] text [SEP], what is too long cut off; labels are classes, or undefined where
//                the data has none.
//   masked_lm    [CLS] text [SEP], a longer text as several examples. Of the tokens,
//                model.masked_share is drawn, at least one; of those 80 % become [MASK], 10 % a
//                token drawn from the vocabulary, 10 % stay (Devlin et al., 1810.04805); labels are
//                what stood there. What is drawn depends on Draw and the example's index alone.
//   contrastive  text and pair, each as in classify. Without data.pair_field the halves of the
//   text,
//                cut at the space next to its middle; a text of one word is its own pair.
//   decoder      begin text end, in blocks one after the other, a text's last block of fewer
//   tokens;
//                labels are the next token, of a block's last position the next block's first.
// Of a longer text's parts each has the text's label and site. From token shards, masked_lm and
// decoder take blocks as they are. A text without tokens gives masked_lm and decoder no example.
// limits count texts, of shards blocks.
absl::StatusOr<std::unique_ptr<Dataset>> LoadTokenDataset(const recipes::Recipe& recipe,
                                                          Split split);

// What TraitsOf says of these: reads the tokenizer's file or a shard's header, and the classes'
// names where there is a file with them.
absl::StatusOr<DataTraits> TextTraitsOf(const recipes::Recipe& recipe);

}  // namespace atl::trainer

#include <cstdio>

#include "comms/base/files.h"
#include "comms/base/status.h"
#include "recipes/schema/load.h"
#include "trainer/data/text_set.h"
#include "trainer/data/token_shards.h"
#include "trainer/data/tokenizer.h"
#include "trainer/modes/modes.h"

namespace atl::trainer {
namespace {

constexpr uint64_t kShardTokens = 64 << 20;

absl::Status WriteSplit(const recipes::Recipe& recipe, Split split, const Tokenizer& tokenizer,
                        const std::string& out) {
  const char* prefix = split == Split::kTrain ? "train" : "test";
  ATOLL_ASSIGN_OR_RETURN(const TextTable table, LoadTextTable(recipe, split));
  TokenShardWriter writer(out, prefix,
                          {.vocabulary = tokenizer.vocabulary(),
                           .padding_id = tokenizer.padding_id(),
                           .begin_id = tokenizer.begin_id(),
                           .end_id = tokenizer.end_id(),
                           .mask_id = tokenizer.mask_id()},
                          kShardTokens);
  for (const std::string& text : table.texts) {
    std::vector<int32_t> ids = tokenizer.Encode(text, SIZE_MAX);
    if (ids.empty()) continue;
    if (tokenizer.begin_id() >= 0) ids.insert(ids.begin(), tokenizer.begin_id());
    if (tokenizer.end_id() >= 0) ids.push_back(tokenizer.end_id());
    ATOLL_RETURN_IF_ERROR(writer.Add(ids));
  }
  ATOLL_RETURN_IF_ERROR(writer.Finish());
  std::printf("%s: %zu texts, %llu tokens\n", prefix, table.texts.size(),
              static_cast<unsigned long long>(writer.tokens()));
  return absl::OkStatus();
}

absl::Status Tokenize(const TokenizeOptions& options) {
  ATOLL_ASSIGN_OR_RETURN(const recipes::Recipe recipe,
                         recipes::LoadRecipe(options.recipe, options.overrides));
  ATOLL_ASSIGN_OR_RETURN(const auto tokenizer, LoadTokenizer(recipe.data.tokenizer));
  ATOLL_RETURN_IF_ERROR(MakeFolder(options.out));
  ATOLL_RETURN_IF_ERROR(WriteSplit(recipe, Split::kTrain, *tokenizer, options.out));
  const absl::Status test = WriteSplit(recipe, Split::kTest, *tokenizer, options.out);
  return absl::IsNotFound(test) ? absl::OkStatus() : test;  // a set may have no test split
}

}  // namespace

int RunTokenize(const TokenizeOptions& options) {
  const absl::Status status = Tokenize(options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "atoll-trainer: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace atl::trainer

#include <torch/types.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "comms/base/random.h"
#include "comms/base/status.h"
#include "trainer/data/text_datasets.h"
#include "trainer/data/text_files.h"
#include "trainer/data/text_set.h"
#include "trainer/data/token_rows.h"
#include "trainer/data/token_shards.h"

namespace atl::trainer {
namespace {

using recipes::DatasetKind;
using recipes::EncoderTask;
using recipes::ModelKind;

enum class Task { kClassify, kMaskedLm, kContrastive, kCausalLm };

Task TaskOf(const recipes::Recipe& recipe) {
  if (recipe.model.kind == ModelKind::kDecoder) return Task::kCausalLm;
  if (recipe.model.kind != ModelKind::kEncoder) {
    // A person's own module: of shards it can only be a language model.
    return recipe.data.dataset == DatasetKind::kTokens ? Task::kCausalLm : Task::kClassify;
  }
  switch (recipe.model.task) {
    case EncoderTask::kMaskedLm:
      return Task::kMaskedLm;
    case EncoderTask::kContrastive:
      return Task::kContrastive;
    case EncoderTask::kClassify:
      break;
  }
  return Task::kClassify;
}

RowKind RowKindOf(Task task) {
  if (task == Task::kCausalLm) return RowKind::kStream;
  return task == Task::kMaskedLm ? RowKind::kParts : RowKind::kWhole;
}

// Ids that mean something; -1 where there is none.
struct SpecialIds {
  int32_t begin = -1, end = -1, padding = -1, mask = -1;
};

// What all examples share.
struct Options {
  Task task = Task::kClassify;
  SpecialIds special = {};
  uint32_t vocabulary = 0;
  uint32_t max_length = 0;
  double masked_share = 0.15;
};

// What each example has besides its tokens.
struct Columns {
  std::vector<uint32_t> labels = {}, sites = {};
  std::vector<std::string> class_names = {}, site_names = {};
};

using Row = std::vector<int64_t>;

// Rows as one tensor int64 [n, length], length > 0, with `filler` behind each row's end.
at::Tensor Padded(const std::vector<Row>& rows, int64_t filler) {
  size_t length = 1;
  for (const Row& row : rows) length = std::max(length, row.size());
  at::Tensor out = torch::full({static_cast<int64_t>(rows.size()), static_cast<int64_t>(length)},
                               filler, torch::kInt64);
  int64_t* at = out.data_ptr<int64_t>();
  for (const Row& row : rows) {
    std::copy(row.begin(), row.end(), at);
    at += length;
  }
  return out;
}

at::Tensor MaskOf(const std::vector<Row>& rows, int64_t length) {
  at::Tensor out = torch::zeros({static_cast<int64_t>(rows.size()), length}, torch::kFloat32);
  float* at = out.data_ptr<float>();
  for (const Row& row : rows) {
    std::fill_n(at, row.size(), 1.0f);
    at += length;
  }
  return out;
}

class TokenDataset : public Dataset {
 public:
  TokenDataset(const Options& options, TokenRows rows, TokenRows pairs, Columns columns)
      : options_(options),
        rows_(std::move(rows)),
        pairs_(std::move(pairs)),
        columns_(std::move(columns)),
        size_(static_cast<uint32_t>(rows_.size())) {
    SetTraits();
  }
  TokenDataset(const Options& options, TokenShards shards)
      : options_(options), shards_(std::move(shards)), size_(shards_->size()) {
    SetTraits();
  }

  uint32_t size() const override { return size_; }
  const DataTraits& traits() const override { return traits_; }
  std::span<const uint32_t> labels() const override { return columns_.labels; }
  std::span<const uint32_t> sites() const override { return columns_.sites; }
  std::span<const std::string> site_names() const override { return columns_.site_names; }

  Batch MakeBatch(std::span<const uint32_t> indices, const Draw& draw) const override {
    std::vector<Row> inputs, labels;
    for (uint32_t index : indices) {
      TORCH_CHECK(index < size_, "example ", index, " of ", size_);
      inputs.push_back(RowOf(rows_, index, options_.task == Task::kCausalLm));
      if (options_.task == Task::kCausalLm) labels.push_back(Shift(inputs.back()));
      if (options_.task == Task::kMaskedLm) labels.push_back(Mask(inputs.back(), index, draw));
    }
    Batch batch;
    batch.examples = static_cast<uint32_t>(indices.size());
    batch.inputs = Padded(inputs, traits_.padding_id);
    batch.mask = MaskOf(inputs, batch.inputs.size(1));
    if (options_.task == Task::kCausalLm || options_.task == Task::kMaskedLm) {
      batch.labels = Padded(labels, kNotCounted);
    } else if (options_.task == Task::kClassify && !columns_.labels.empty()) {
      batch.labels = torch::empty({static_cast<int64_t>(indices.size())}, torch::kInt64);
      int64_t* at = batch.labels.data_ptr<int64_t>();
      for (uint32_t index : indices) *at++ = columns_.labels[index];
    }
    if (options_.task == Task::kContrastive) {
      std::vector<Row> pairs;
      for (uint32_t index : indices) pairs.push_back(RowOf(pairs_, index, false));
      batch.pair_inputs = Padded(pairs, traits_.padding_id);
      batch.pair_mask = MaskOf(pairs, batch.pair_inputs.size(1));
    }
    return batch;
  }

 private:
  void SetTraits() {
    traits_.input = InputKind::kTokens;
    traits_.vocabulary = options_.vocabulary;
    traits_.padding_id = static_cast<uint32_t>(std::max(options_.special.padding, 0));
    traits_.class_names = columns_.class_names;
  }

  Row RowOf(const TokenRows& rows, uint32_t index, bool next) const {
    if (!shards_.has_value()) {
      const auto ids = rows.Row(index, next);
      return {ids.begin(), ids.end()};
    }
    const auto ids = shards_->Read(index, next);
    TORCH_CHECK(ids.ok(), std::string(ids.status().message()));
    return {ids->begin(), ids->end()};
  }

  // Labels of a causal model: the token behind each. Takes off the row what is only a label.
  Row Shift(Row& row) const {
    Row labels(row.begin() + (row.empty() ? 0 : 1), row.end());
    if (row.size() > options_.max_length) {
      row.pop_back();
    } else if (!row.empty()) {
      labels.push_back(kNotCounted);
    }
    return labels;
  }

  // BERT's masking. Returns the labels.
  Row Mask(Row& row, uint32_t index, const Draw& draw) const {
    SeededRandom random({.seed = draw.seed,
                         .label = "masked tokens",
                         .round = draw.round,
                         .site = draw.epoch,
                         .rank = index});
    Row labels(row.size(), kNotCounted);
    std::vector<size_t> places;
    for (size_t i = 0; i < row.size(); ++i) {
      const SpecialIds& special = options_.special;
      if (row[i] != special.begin && row[i] != special.end && row[i] != special.padding) {
        places.push_back(i);
      }
    }
    std::vector<size_t> drawn;
    for (size_t place : places) {
      if (random.Uniform() < options_.masked_share) drawn.push_back(place);
    }
    if (drawn.empty() && !places.empty()) drawn.push_back(places[random.Below(places.size())]);
    for (size_t place : drawn) {
      labels[place] = row[place];
      const uint64_t tenth = random.Below(10);
      if (tenth < 8) row[place] = options_.special.mask;
      if (tenth == 8) row[place] = static_cast<int64_t>(random.Below(options_.vocabulary));
    }
    return labels;
  }

  const Options options_;
  const TokenRows rows_, pairs_;
  const std::optional<TokenShards> shards_;
  const Columns columns_;
  const uint32_t size_;
  DataTraits traits_;
};

absl::Status CheckOptions(const Options& options) {
  if (options.task == Task::kMaskedLm && options.special.mask < 0) {
    return absl::InvalidArgumentError(
        "data.tokenizer: masked_lm needs a tokenizer with a mask token ([MASK] or <mask>)");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Dataset>> LoadShards(const recipes::Recipe& recipe, Split split,
                                                    Options options) {
  if (options.task != Task::kMaskedLm && options.task != Task::kCausalLm) {
    return absl::InvalidArgumentError(
        "data.dataset: tokens are for decoder and for encoder's masked_lm");
  }
  const int limit = split == Split::kTrain ? recipe.data.limit : recipe.data.test_limit;
  ATOLL_ASSIGN_OR_RETURN(
      TokenShards shards,
      TokenShards::Open(recipe.data.folder, split == Split::kTrain ? "train" : "test",
                        options.max_length, static_cast<uint32_t>(limit)));
  const ShardHeader& header = shards.header();
  options.vocabulary = header.vocabulary;
  options.special = {header.begin_id, header.end_id, header.padding_id, header.mask_id};
  ATOLL_RETURN_IF_ERROR(CheckOptions(options));
  if (shards.size() == 0) {
    return absl::InvalidArgumentError(absl::StrCat(recipe.data.folder, ": no example in it"));
  }
  return std::make_unique<TokenDataset>(options, std::move(shards));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> LoadTokenDataset(const recipes::Recipe& recipe,
                                                          Split split) {
  Options options{.task = TaskOf(recipe),
                  .max_length = static_cast<uint32_t>(recipe.model.max_length),
                  .masked_share = recipe.model.masked_share};
  if (options.max_length < 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("model.max_length: ", options.max_length, " must be at least 3"));
  }
  if (recipe.data.dataset == DatasetKind::kTokens) return LoadShards(recipe, split, options);
  ATOLL_ASSIGN_OR_RETURN(const auto tokenizer, LoadTokenizer(recipe.data.tokenizer));
  options.vocabulary = tokenizer->vocabulary();
  options.special = {tokenizer->begin_id(), tokenizer->end_id(), tokenizer->padding_id(),
                     tokenizer->mask_id()};
  ATOLL_RETURN_IF_ERROR(CheckOptions(options));
  ATOLL_ASSIGN_OR_RETURN(const TextTable table, LoadTextTable(recipe, split));
  TokenRows rows, pairs;
  Columns columns{.class_names = table.labels.names, .site_names = table.sites.names};
  for (size_t i = 0; i < table.texts.size(); ++i) {
    std::string_view text = table.texts[i], pair;
    if (options.task == Task::kContrastive) {
      if (table.pairs.empty()) {
        std::tie(text, pair) = Halves(text);
      } else {
        pair = table.pairs[i];
      }
      pairs.Add(pair, RowKind::kWhole, *tokenizer, options.max_length);
    }
    rows.Add(text, RowKindOf(options.task), *tokenizer, options.max_length);
    if (!table.labels.ids.empty()) columns.labels.resize(rows.size(), table.labels.ids[i]);
    if (!table.sites.ids.empty()) columns.sites.resize(rows.size(), table.sites.ids[i]);
  }
  if (rows.size() == 0 || rows.size() > UINT32_MAX) {
    return absl::InvalidArgumentError(
        absl::StrCat(recipe.data.folder, ": its texts make ", rows.size(), " examples"));
  }
  return std::make_unique<TokenDataset>(options, std::move(rows), std::move(pairs),
                                        std::move(columns));
}

absl::StatusOr<DataTraits> TextTraitsOf(const recipes::Recipe& recipe) {
  DataTraits traits;
  if (recipe.data.dataset == DatasetKind::kTokens) {
    ATOLL_ASSIGN_OR_RETURN(const TokenShards shards,
                           TokenShards::Open(recipe.data.folder, "train", 2, 0));
    traits.input = InputKind::kTokens;
    traits.vocabulary = shards.header().vocabulary;
    traits.padding_id = static_cast<uint32_t>(std::max(shards.header().padding_id, 0));
    return traits;
  }
  ATOLL_ASSIGN_OR_RETURN(traits.class_names, ReadClassNames(recipe.data.folder));
  traits.input = InputKind::kNgrams;
  if (recipe.model.kind == ModelKind::kTextClassifier) return traits;
  ATOLL_ASSIGN_OR_RETURN(const auto tokenizer, LoadTokenizer(recipe.data.tokenizer));
  traits.input = InputKind::kTokens;
  traits.vocabulary = tokenizer->vocabulary();
  traits.padding_id = static_cast<uint32_t>(std::max(tokenizer->padding_id(), 0));
  return traits;
}

}  // namespace atl::trainer

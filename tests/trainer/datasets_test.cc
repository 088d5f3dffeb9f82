// Texts and tokens as batches.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include "comms/base/files.h"
#include "trainer/data/dataset.h"
#include "trainer/data/ngrams.h"
#include "trainer/data/token_shards.h"
#include "trainer/modes/modes.h"

namespace atl::trainer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<int64_t> Values(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.to(torch::kInt64).contiguous().view({-1});
  return {flat.data_ptr<int64_t>(), flat.data_ptr<int64_t>() + flat.numel()};
}

// Bytes of a text as ids of the tokenizer `bytes`.
std::vector<int64_t> Ids(std::string_view text) {
  std::vector<int64_t> out;
  for (char c : text) out.push_back(static_cast<uint8_t>(c) + 4);
  return out;
}

constexpr int32_t kBegin = 1, kEnd = 2, kMask = 3;

class DatasetsTest : public ::testing::Test {
 protected:
  DatasetsTest() {
    recipe_.data.dataset = recipes::DatasetKind::kJsonLines;
    recipe_.data.folder = folder_.path().string();
    recipe_.model.kind = recipes::ModelKind::kTextClassifier;
    recipe_.model.classes = 3;
    recipe_.model.max_length = 6;
  }
  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(WriteFileAtomic(folder_.path() / name, AsBytes(text)).ok());
  }
  void WriteTrain() {
    Write("train.jsonl",
          "{\"text\":\"abc\",\"label\":\"y\",\"s\":\"two\",\"p\":\"q\"}\n"
          "{\"text\":\"de fghi\",\"label\":\"x\",\"s\":\"one\",\"p\":\"\"}\n"
          "{\"text\":\"\",\"label\":\"z\",\"s\":\"two\",\"p\":\"rst\"}\n");
  }
  void Use(recipes::ModelKind kind, recipes::EncoderTask task = recipes::EncoderTask::kMaskedLm) {
    recipe_.model.kind = kind;
    recipe_.model.task = task;
  }
  std::unique_ptr<Dataset> Load(Split split = Split::kTrain) {
    auto set = LoadDataset(recipe_, split);
    EXPECT_TRUE(set.ok()) << set.status();
    return set.ok() ? *std::move(set) : nullptr;
  }
  std::string Error(Split split = Split::kTrain) {
    return std::string(LoadDataset(recipe_, split).status().message());
  }
  TemporaryFolder folder_ = *TemporaryFolder::Create("atoll-datasets");
  recipes::Recipe recipe_;
};

TEST_F(DatasetsTest, NgramsAreBags) {
  WriteTrain();
  recipe_.data.site_field = "s";
  recipe_.model.ngram_max = 2;
  recipe_.model.buckets = 1000;
  const auto set = Load();
  ASSERT_NE(set, nullptr);
  EXPECT_EQ(set->size(), 3u);
  EXPECT_EQ(set->traits().input, InputKind::kNgrams);
  EXPECT_THAT(set->traits().class_names, ElementsAre("x", "y", "z"));
  EXPECT_THAT(set->labels(), ElementsAre(1, 0, 2));
  EXPECT_THAT(set->sites(), ElementsAre(1, 0, 1));
  EXPECT_THAT(set->site_names(), ElementsAre("one", "two"));
  const Batch batch = set->MakeBatch(std::vector<uint32_t>{1, 2, 0}, {});
  std::vector<int64_t> ids;
  AppendNgrams("de fghi", 2, 1000, ids);
  const int64_t first = static_cast<int64_t>(ids.size());
  AppendNgrams("abc", 2, 1000, ids);
  EXPECT_EQ(batch.examples, 3u);
  EXPECT_EQ(Values(batch.inputs), ids);
  EXPECT_THAT(Values(batch.offsets), ElementsAre(0, first, first));
  EXPECT_THAT(Values(batch.labels), ElementsAre(0, 2, 1));
  EXPECT_FALSE(batch.mask.defined());
}

TEST_F(DatasetsTest, ClassesAreTheTrainingSplitsForEverySplitAndLimit) {
  WriteTrain();
  Write("test.jsonl", "{\"text\":\"t\",\"label\":\"z\"}\n");
  EXPECT_THAT(Load(Split::kTest)->labels(), ElementsAre(2));
  recipe_.data.limit = 1;
  recipe_.data.site_field = "s";
  EXPECT_THAT(Load(Split::kTrain)->labels(), ElementsAre(1));
  EXPECT_THAT(Load(Split::kTrain)->sites(), ElementsAre(1));
  EXPECT_THAT(Load(Split::kTest)->labels(), ElementsAre(2));  // a test file may have no sites
  Write("test.jsonl", "{\"text\":\"t\",\"label\":\"new\"}\n");
  EXPECT_THAT(Error(Split::kTest), HasSubstr("test.jsonl:1: label: 'new' is none of the 3"));
  recipe_.model.classes = 2;
  EXPECT_EQ(Error(), "model.classes: 2 must be at least the data set's 3");
}

TEST_F(DatasetsTest, AFileOfClassesNumbersThem) {
  WriteTrain();
  Write("classes.txt", "z\ny\nx\n");
  EXPECT_THAT(Load()->labels(), ElementsAre(1, 2, 0));
  EXPECT_THAT(TraitsOf(recipe_)->class_names, ElementsAre("z", "y", "x"));
}

TEST_F(DatasetsTest, SaysWhatIsMissing) {
  const absl::Status status = LoadDataset(recipe_, Split::kTrain).status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("train.jsonl; make it or set data.folder"));
  Write("train.jsonl", "");
  EXPECT_THAT(Error(), HasSubstr("train.jsonl: no example in it"));
}

TEST_F(DatasetsTest, ClassifyCutsAndPads) {
  WriteTrain();
  Use(recipes::ModelKind::kEncoder, recipes::EncoderTask::kClassify);
  const auto set = Load();
  ASSERT_NE(set, nullptr);
  EXPECT_EQ(set->traits().input, InputKind::kTokens);
  EXPECT_EQ(set->traits().vocabulary, 260u);
  const Batch batch = set->MakeBatch(std::vector<uint32_t>{0, 1, 2}, {});
  const auto a = Ids("abc"), d = Ids("de f");
  EXPECT_THAT(Values(batch.inputs[0]), ElementsAre(kBegin, a[0], a[1], a[2], kEnd, 0));
  EXPECT_THAT(Values(batch.inputs[1]), ElementsAre(kBegin, d[0], d[1], d[2], d[3], kEnd));
  EXPECT_THAT(Values(batch.inputs[2]), ElementsAre(kBegin, kEnd, 0, 0, 0, 0));
  EXPECT_THAT(Values(batch.mask[0]), ElementsAre(1, 1, 1, 1, 1, 0));
  EXPECT_THAT(Values(batch.mask[2]), ElementsAre(1, 1, 0, 0, 0, 0));
  EXPECT_THAT(Values(batch.labels), ElementsAre(1, 0, 2));
  EXPECT_FALSE(batch.pair_inputs.defined());
  // Rows are as long as the batch needs.
  EXPECT_EQ(set->MakeBatch(std::vector<uint32_t>{2}, {}).inputs.size(1), 2);
}

TEST_F(DatasetsTest, DecoderPredictsEachTokenOnce) {
  WriteTrain();
  Use(recipes::ModelKind::kDecoder);
  recipe_.data.site_field = "s";
  recipe_.model.max_length = 4;
  const auto set = Load();
  ASSERT_NE(set, nullptr);
  // abc: 5 tokens, of which the last is a label only; de fghi: 9; the empty text none.
  ASSERT_EQ(set->size(), 3u);
  EXPECT_THAT(set->labels(), ElementsAre(1, 0, 0));
  EXPECT_THAT(set->sites(), ElementsAre(1, 0, 0));
  const Batch batch = set->MakeBatch(std::vector<uint32_t>{0, 1, 2}, {});
  const auto a = Ids("abc"), d = Ids("de fghi");
  EXPECT_THAT(Values(batch.inputs[0]), ElementsAre(kBegin, a[0], a[1], a[2]));
  EXPECT_THAT(Values(batch.labels[0]), ElementsAre(a[0], a[1], a[2], kEnd));
  EXPECT_THAT(Values(batch.inputs[1]), ElementsAre(kBegin, d[0], d[1], d[2]));
  EXPECT_THAT(Values(batch.labels[1]), ElementsAre(d[0], d[1], d[2], d[3]));
  EXPECT_THAT(Values(batch.inputs[2]), ElementsAre(d[3], d[4], d[5], d[6]));
  EXPECT_THAT(Values(batch.labels[2]), ElementsAre(d[4], d[5], d[6], kEnd));
  recipe_.model.max_length = 100;
  const Batch whole = Load()->MakeBatch(std::vector<uint32_t>{0, 1}, {});
  EXPECT_THAT(Values(whole.labels[0]), ElementsAre(a[0], a[1], a[2], kEnd, kNotCounted, kNotCounted,
                                                   kNotCounted, kNotCounted, kNotCounted));
}

TEST_F(DatasetsTest, ARankMayHaveNoExampleOfABatch) {
  WriteTrain();
  for (auto task : {recipes::EncoderTask::kClassify, recipes::EncoderTask::kMaskedLm,
                    recipes::EncoderTask::kContrastive}) {
    Use(recipes::ModelKind::kEncoder, task);
    const Batch batch = Load()->MakeBatch({}, {});
    EXPECT_EQ(batch.examples, 0u);
    EXPECT_EQ(batch.inputs.sizes(), (std::vector<int64_t>{0, 1}));
    EXPECT_EQ(batch.labels.defined(), task != recipes::EncoderTask::kContrastive);
  }
  Use(recipes::ModelKind::kTextClassifier);
  EXPECT_EQ(Load()->MakeBatch({}, {}).offsets.numel(), 0);
}

TEST_F(DatasetsTest, LanguageModelsDoWithoutLabels) {
  Write("train.jsonl", "{\"text\":\"abc\"}\n");
  Use(recipes::ModelKind::kDecoder);
  EXPECT_THAT(Load()->labels(), IsEmpty());
  Use(recipes::ModelKind::kTextClassifier);
  EXPECT_THAT(Error(), HasSubstr("train.jsonl:1: no field 'label'"));
}

TEST_F(DatasetsTest, ContrastiveTakesPairsOrHalves) {
  WriteTrain();
  Use(recipes::ModelKind::kEncoder, recipes::EncoderTask::kContrastive);
  Batch batch = Load()->MakeBatch(std::vector<uint32_t>{0, 1}, {});
  const auto a = Ids("abc"), d = Ids("de"), f = Ids("fghi");
  EXPECT_THAT(Values(batch.inputs), ElementsAre(kBegin, a[0], a[1], a[2], kEnd,  //
                                                kBegin, d[0], d[1], kEnd, 0));
  EXPECT_THAT(Values(batch.pair_inputs), ElementsAre(kBegin, a[0], a[1], a[2], kEnd, 0,  //
                                                     kBegin, f[0], f[1], f[2], f[3], kEnd));
  EXPECT_THAT(Values(batch.pair_mask), ElementsAre(1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1));
  EXPECT_FALSE(batch.labels.defined());
  recipe_.data.pair_field = "p";
  batch = Load()->MakeBatch(std::vector<uint32_t>{0, 1}, {});
  EXPECT_THAT(Values(batch.pair_inputs), ElementsAre(kBegin, Ids("q")[0], kEnd, kBegin, kEnd, 0));
}

TEST_F(DatasetsTest, MaskingDependsOnTheDrawAndTheExampleAlone) {
  std::string file;
  for (int i = 0; i < 200; ++i) file += "{\"text\":\"" + std::string(100, 'a') + "\"}\n";
  Write("train.jsonl", file);
  Use(recipes::ModelKind::kEncoder);
  recipe_.model.max_length = 52;  // two examples a text
  const auto set = Load();
  ASSERT_NE(set, nullptr);
  ASSERT_EQ(set->size(), 400u);
  std::vector<uint32_t> all(400);
  for (uint32_t i = 0; i < 400; ++i) all[i] = i;
  const Draw draw{.seed = 5, .round = 2, .epoch = 1};
  const Batch batch = set->MakeBatch(all, draw);
  const Batch one = set->MakeBatch(std::vector<uint32_t>{17}, draw);
  EXPECT_EQ(Values(one.inputs[0]), Values(batch.inputs[17]));
  EXPECT_EQ(Values(one.labels[0]), Values(batch.labels[17]));
  for (const Draw& other : {Draw{6, 2, 1}, Draw{5, 3, 1}, Draw{5, 2, 2}}) {
    EXPECT_NE(Values(set->MakeBatch(all, other).labels), Values(batch.labels));
  }
  EXPECT_NE(Values(batch.labels[0]), Values(batch.labels[1]));
  int64_t counted = 0, masked = 0, same = 0;
  const auto inputs = Values(batch.inputs), labels = Values(batch.labels);
  const int64_t letter = Ids("a")[0];
  for (size_t i = 0; i < inputs.size(); ++i) {
    const bool special = i % 52 == 0 || i % 52 == 51;
    if (labels[i] == kNotCounted) {
      EXPECT_EQ(inputs[i], i % 52 == 0 ? kBegin : i % 52 == 51 ? kEnd : letter);
      continue;
    }
    EXPECT_FALSE(special);
    EXPECT_EQ(labels[i], letter);
    ++counted;
    masked += inputs[i] == kMask;
    same += inputs[i] == letter;
  }
  // Of 20,000 tokens: 15 % +- 5 standard deviations; of those 80 and 10 %.
  EXPECT_NEAR(static_cast<double>(counted) / 20000, 0.15, 0.013);
  EXPECT_NEAR(static_cast<double>(masked) / static_cast<double>(counted), 0.8, 0.04);
  EXPECT_NEAR(static_cast<double>(same) / static_cast<double>(counted), 0.1, 0.03);
}

TEST_F(DatasetsTest, AtLeastOneTokenIsMasked) {
  Write("train.jsonl", "{\"text\":\"a\"}\n");
  Use(recipes::ModelKind::kEncoder);
  const auto set = Load();
  for (uint32_t epoch = 0; epoch < 20; ++epoch) {
    const Batch batch = set->MakeBatch(std::vector<uint32_t>{0}, {.seed = 1, .epoch = epoch});
    EXPECT_THAT(Values(batch.labels), ElementsAre(kNotCounted, Ids("a")[0], kNotCounted));
  }
}

TEST_F(DatasetsTest, TokenShardsAreBlocks) {
  recipe_.data.dataset = recipes::DatasetKind::kTokens;
  recipe_.model.max_length = 4;
  Use(recipes::ModelKind::kDecoder);
  EXPECT_THAT(Error(), HasSubstr("train-*.tokens"));
  TokenShardWriter writer(folder_.path(), "train",
                          {.vocabulary = 50, .padding_id = 9, .mask_id = 8}, 1000);
  ASSERT_TRUE(writer.Add(std::vector<int32_t>{10, 11, 12, 13, 14, 15}).ok());
  ASSERT_TRUE(writer.Finish().ok());
  const auto traits = TraitsOf(recipe_);
  ASSERT_TRUE(traits.ok()) << traits.status();
  EXPECT_EQ(traits->vocabulary, 50u);
  EXPECT_EQ(traits->padding_id, 9u);
  const Batch batch = Load()->MakeBatch(std::vector<uint32_t>{0, 1}, {});
  EXPECT_THAT(Values(batch.inputs), ElementsAre(10, 11, 12, 13, 14, 15, 9, 9));
  EXPECT_THAT(Values(batch.labels),
              ElementsAre(11, 12, 13, 14, 15, kNotCounted, kNotCounted, kNotCounted));
  Use(recipes::ModelKind::kEncoder);
  EXPECT_THAT(Values(Load()->MakeBatch(std::vector<uint32_t>{1}, {}).mask), ElementsAre(1, 1));
  Use(recipes::ModelKind::kEncoder, recipes::EncoderTask::kClassify);
  EXPECT_THAT(Error(), HasSubstr("tokens are for decoder"));
}

TEST_F(DatasetsTest, TokenizedTextsAreTheSameTokens) {
  WriteTrain();
  Write("recipe.yaml",
        "name: tokens\nrun: atoll run recipe.yaml\nparameters:\n"
        "  privacy: {secure_aggregation: {enabled: false}}\n"
        "  model: {kind: decoder}\n  data: {dataset: jsonl, folder: '" +
            folder_.path().string() + "'}\n");
  const std::string out = (folder_.path() / "shards").string();
  const TokenizeOptions options{(folder_.path() / "recipe.yaml").string(), {}, out};
  ASSERT_EQ(RunTokenize(options), 0);  // without a test split
  const auto train = TokenShards::Open(out, "train", 100, 0);
  ASSERT_TRUE(train.ok()) << train.status();
  const auto a = Ids("abc"), d = Ids("de fghi");
  std::vector<int32_t> ids = {kBegin};
  ids.insert(ids.end(), a.begin(), a.end());
  ids.insert(ids.end(), {kEnd, kBegin});
  ids.insert(ids.end(), d.begin(), d.end());
  ids.push_back(kEnd);
  EXPECT_EQ(*train->Read(0, false), ids);
  EXPECT_EQ(train->header(), (ShardHeader{.vocabulary = 260,
                                          .padding_id = 0,
                                          .begin_id = 1,
                                          .end_id = 2,
                                          .mask_id = 3,
                                          .count = ids.size()}));
  Write("test.jsonl", "{\"text\":\"t\"}\n");
  ASSERT_EQ(RunTokenize(options), 0);
  EXPECT_EQ(TokenShards::Open(out, "test", 100, 0)->size(), 1u);
  Write("test.jsonl", "{}\n");
  EXPECT_EQ(RunTokenize(options), 1);
}

TEST_F(DatasetsTest, AnIdOutsideTheVocabularyIsAnErrorNotACrash) {
  recipe_.data.dataset = recipes::DatasetKind::kTokens;
  Use(recipes::ModelKind::kDecoder);
  TokenShardWriter writer(folder_.path(), "train", {.vocabulary = 50}, 1000);
  ASSERT_TRUE(writer.Add(std::vector<int32_t>{1, 50}).ok());
  ASSERT_TRUE(writer.Finish().ok());
  const auto set = Load();
  try {
    (void)set->MakeBatch(std::vector<uint32_t>{0}, {});
    FAIL() << "no error";
  } catch (const c10::Error& error) {
    EXPECT_THAT(std::string(error.what()), HasSubstr("train-000.tokens: id 50 at place 1"));
  }
}

}  // namespace
}  // namespace atl::trainer

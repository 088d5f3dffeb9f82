#include <torch/types.h>

#include <algorithm>
#include <utility>

#include "comms/base/status.h"
#include "trainer/data/ngrams.h"
#include "trainer/data/text_datasets.h"
#include "trainer/data/text_set.h"

namespace atl::trainer {
namespace {

// Hashes when a batch is made: that takes a few microseconds a text, and the buckets of all texts
// would take ten times the memory of the texts.
class NgramDataset : public Dataset {
 public:
  NgramDataset(TextTable table, uint32_t longest, uint32_t buckets)
      : table_(std::move(table)), longest_(longest), buckets_(buckets) {
    traits_.input = InputKind::kNgrams;
    traits_.class_names = table_.labels.names;
  }

  uint32_t size() const override { return static_cast<uint32_t>(table_.texts.size()); }
  const DataTraits& traits() const override { return traits_; }
  std::span<const uint32_t> labels() const override { return table_.labels.ids; }
  std::span<const uint32_t> sites() const override { return table_.sites.ids; }
  std::span<const std::string> site_names() const override { return table_.sites.names; }

  Batch MakeBatch(std::span<const uint32_t> indices, const Draw&) const override {
    const int64_t n = static_cast<int64_t>(indices.size());
    Batch batch;
    batch.examples = static_cast<uint32_t>(indices.size());
    batch.offsets = torch::empty({n}, torch::kInt64);
    batch.labels = torch::empty({n}, torch::kInt64);
    int64_t* offsets = batch.offsets.data_ptr<int64_t>();
    int64_t* labels = batch.labels.data_ptr<int64_t>();
    std::vector<int64_t> ids;
    for (uint32_t index : indices) {
      TORCH_CHECK(index < size(), "example ", index, " of ", size());
      *offsets++ = static_cast<int64_t>(ids.size());
      *labels++ = table_.labels.ids[index];
      AppendNgrams(table_.texts[index], longest_, buckets_, ids);
    }
    batch.inputs = torch::empty({static_cast<int64_t>(ids.size())}, torch::kInt64);
    std::copy(ids.begin(), ids.end(), batch.inputs.data_ptr<int64_t>());
    return batch;
  }

 private:
  const TextTable table_;
  const uint32_t longest_, buckets_;
  DataTraits traits_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> LoadNgramDataset(const recipes::Recipe& recipe,
                                                          Split split) {
  ATOLL_ASSIGN_OR_RETURN(TextTable table, LoadTextTable(recipe, split));
  return std::make_unique<NgramDataset>(std::move(table),
                                        static_cast<uint32_t>(recipe.model.ngram_max),
                                        static_cast<uint32_t>(recipe.model.buckets));
}

}  // namespace atl::trainer

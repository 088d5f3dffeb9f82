#include "federation/coordinator/summing.h"

#include <algorithm>
#include <bit>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "comms/base/status.h"
#include "comms/sitelink/messages.h"
#include "federation/secagg/sum.h"
#include "federation/strategy/scale.h"
#include "federation/strategy/strategy.h"

namespace atl::coordinator {
namespace {

static_assert(std::endian::native == std::endian::little,
              "models are float32, little-endian, as they lie in memory");

constexpr const char* kMetricNames[sitelink::kMetricCount] = {
    "weights",         "examples",         "losses (in 1/1024)",
    "correct answers", "saturated values", "clipped updates"};

// What a group's sum is made of.
struct Parts {
  std::vector<SiteVector> vectors;
  std::shared_ptr<const PartialSum> early;  // or null
};

absl::StatusOr<SumOutcome> DecodeMetrics(ByteView packed, const kernels::Segment& segment) {
  ATOLL_ASSIGN_OR_RETURN(auto values, strategy::DecodeIntegers(packed, segment));
  if (values.size() < sitelink::kMetricCount) {
    return absl::InvalidArgumentError(
        absl::StrCat("the sum has ", values.size(), " metrics, not ", +sitelink::kMetricCount));
  }
  for (uint32_t i = 0; i < sitelink::kMetricCount; ++i) {
    if (values[i] >= 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "the sites' ", kMetricNames[i], " add up to ", values[i],
        ", must be >= 0: a site has sent nonsense",
        i == sitelink::kLossSum ? ", or its loss explodes; a lower train.optimizer.lr may help"
                                : ""));
  }
  SumOutcome outcome;
  outcome.weight = static_cast<uint64_t>(values[sitelink::kWeight]);
  outcome.examples = static_cast<uint64_t>(values[sitelink::kExamples]);
  outcome.correct = static_cast<uint64_t>(values[sitelink::kCorrect]);
  outcome.saturated = static_cast<uint64_t>(values[sitelink::kSaturated]);
  outcome.clipped = static_cast<uint64_t>(values[sitelink::kClipped]);
  outcome.loss_sum = static_cast<double>(values[sitelink::kLossSum]) / sitelink::kLossUnit;
  return outcome;
}

// What the threads share, and none of them changes.
struct Inputs {
  const StartSum& task;
  const kernels::VectorLayout& layout;
  const std::vector<Parts>& parts;  // by group of the task
  const store::BlobReader& model;
  strategy::FedAvgOptions step;
};

struct Chunk {
  Bytes sum;
  std::vector<float> next;  // the next model's; empty for the metrics
  Digest sum_digest{}, next_digest{};
  // Of each group, where there are several.
  std::vector<Bytes> group_sums;
  std::vector<Digest> group_digests;
  strategy::SumOfSquares squares;
};

std::span<uint8_t> BytesOf(std::vector<float>& values) {
  return {reinterpret_cast<uint8_t*>(values.data()), values.size() * sizeof(float)};
}
ByteView BytesOf(const std::vector<float>& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(float)};
}

// Makes chunks, one after the other, in memory that it keeps for the next one. One a thread.
class ChunkMaker {
 public:
  static absl::StatusOr<ChunkMaker> Create(const Inputs& inputs) {
    ATOLL_ASSIGN_OR_RETURN(auto summer, secagg::ChunkSummer::Create(inputs.layout, 0));
    return ChunkMaker(inputs, std::move(summer));
  }

  absl::StatusOr<Chunk> Make(uint32_t index) {
    Chunk made;
    if (inputs_->parts.size() == 1) {
      ATOLL_ASSIGN_OR_RETURN(made.sum, Sum(index, 0));
    } else {
      ATOLL_RETURN_IF_ERROR(SumGroups(index, made));
    }
    made.sum_digest = Sha256::Of(made.sum);
    if (inputs_->layout.chunk(index).segment != sitelink::kUpdateSegment) return made;
    ATOLL_RETURN_IF_ERROR(TakeStep(index, made));
    if (inputs_->task.scale_rule == strategy::ScaleRule::kLastAggregate) {
      ATOLL_RETURN_IF_ERROR(
          made.squares.Add(made.sum, inputs_->layout.chunk(index).elements, inputs_->step.segment));
    }
    made.next_digest = Sha256::Of(BytesOf(made.next));
    return made;
  }

 private:
  ChunkMaker(const Inputs& inputs, secagg::ChunkSummer summer)
      : inputs_(&inputs), summer_(std::move(summer)) {}

  // Each group's, and their total: lanes are wide enough for all sites.
  absl::Status SumGroups(uint32_t index, Chunk& made) {
    for (size_t group = 0; group < inputs_->parts.size(); ++group) {
      ATOLL_ASSIGN_OR_RETURN(made.group_sums.emplace_back(), Sum(index, group));
      made.group_digests.push_back(Sha256::Of(made.group_sums.back()));
    }
    ATOLL_RETURN_IF_ERROR(summer_.Begin(inputs_->layout, index));
    for (const Bytes& sum : made.group_sums) ATOLL_RETURN_IF_ERROR(summer_.Add(sum));
    made.sum = summer_.Finish();
    return absl::OkStatus();
  }

  absl::StatusOr<Bytes> Sum(uint32_t index, size_t group) {
    ATOLL_RETURN_IF_ERROR(summer_.Begin(inputs_->layout, index));
    const Parts& parts = inputs_->parts[group];
    const bool has_early = parts.early != nullptr && parts.early->Has(index);
    std::vector<const store::StagedVector*> vectors;
    for (const SiteVector& item : parts.vectors) {
      if (!has_early || !parts.early->Holds(index, item.site)) vectors.push_back(item.vector.get());
    }
    const auto view = [&](size_t i) {
      return i < vectors.size() ? vectors[i]->ViewChunk(index) : parts.early->ViewChunk(index);
    };
    ATOLL_RETURN_IF_ERROR(AddChunks(view, vectors.size() + (has_early ? 1 : 0), summer_,
                                    inputs_->task.groups[group].streams, inputs_->task.cipher));
    return summer_.Finish();
  }

  absl::Status TakeStep(uint32_t index, Chunk& made) {
    made.next.resize(inputs_->layout.chunk(index).elements);
    ATOLL_RETURN_IF_ERROR(inputs_->model.ReadChunk(index - 1, BytesOf(made.next)));
    return strategy::ApplyFedAvg(made.next, made.sum, inputs_->step, made.next);
  }

  const Inputs* inputs_;
  secagg::ChunkSummer summer_;
};

// Hands out the numbers of chunks and gives back what was made of them in order. A thread that is
// `window` chunks ahead of what was taken waits, so that memory is bounded. Thread-safe.
class ChunkQueue {
 public:
  ChunkQueue(uint32_t first, uint32_t count, uint32_t window)
      : next_(first), taken_(first), count_(count), window_(window) {}

  // For the threads that make chunks. None: there are no more. Each number is answered with Put.
  std::optional<uint32_t> Next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return over_ || next_ == count_ || next_ < taken_ + window_; });
    if (over_ || next_ == count_) return std::nullopt;
    return next_++;
  }
  void Put(uint32_t index, absl::StatusOr<Chunk> chunk) {
    std::lock_guard lock(mutex_);
    made_.emplace(index, std::move(chunk));
    changed_.notify_all();
  }
  // For the one that writes: chunk after chunk.
  absl::StatusOr<Chunk> Take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return made_.contains(taken_); });
    absl::StatusOr<Chunk> chunk = std::move(made_.extract(taken_++).mapped());
    changed_.notify_all();
    return chunk;
  }
  // Nobody gets another number.
  void End() {
    std::lock_guard lock(mutex_);
    over_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  uint32_t next_, taken_;
  const uint32_t count_, window_;
  bool over_ = false;
  std::map<uint32_t, absl::StatusOr<Chunk>> made_;
};

void MakeChunks(const Inputs& inputs, ChunkQueue& queue, const std::atomic<bool>& stopped) {
  absl::StatusOr<ChunkMaker> maker = ChunkMaker::Create(inputs);
  while (const std::optional<uint32_t> index = queue.Next()) {
    if (stopped) {
      queue.Put(*index, absl::CancelledError("the coordinator stops"));
    } else {
      queue.Put(*index, maker.ok() ? maker->Make(*index) : maker.status());
    }
  }
}

// What is written.
struct Outputs {
  store::BlobWriter sum, next;
  std::vector<store::BlobWriter> groups;  // of each, where there are several

  absl::Status AddSums(const Chunk& chunk) {
    for (size_t i = 0; i < groups.size(); ++i) {
      ATOLL_RETURN_IF_ERROR(groups[i].AddHashedChunk(chunk.group_sums[i], chunk.group_digests[i]));
    }
    return sum.AddHashedChunk(chunk.sum, chunk.sum_digest);
  }
};

absl::StatusOr<Outputs> OpenOutputs(const StartSum& task, const store::BlobStore& blobs) {
  ATOLL_ASSIGN_OR_RETURN(store::BlobWriter sum, blobs.NewBlob());
  ATOLL_ASSIGN_OR_RETURN(store::BlobWriter next, blobs.NewBlob());
  Outputs out{std::move(sum), std::move(next), {}};
  for (size_t i = 0; task.groups.size() > 1 && i < task.groups.size(); ++i) {
    ATOLL_ASSIGN_OR_RETURN(store::BlobWriter group, blobs.NewBlob());
    out.groups.push_back(std::move(group));
  }
  return out;
}

// All chunks of the update, by so many threads.
absl::Status WriteUpdate(const Inputs& inputs, uint32_t threads, const std::atomic<bool>& stopped,
                         Outputs& out, strategy::SumOfSquares& squares) {
  const uint32_t count = inputs.layout.chunk_count();
  // A chunk of each group is held for every chunk under way.
  const auto groups = static_cast<uint32_t>(inputs.parts.size());
  ChunkQueue queue(1, count, std::max(2 * threads / groups, 1u));
  std::vector<std::jthread> makers;
  const absl::Cleanup end = [&] { queue.End(); };  // before the threads are joined
  for (uint32_t i = 0; i < std::min(threads, count - 1); ++i)
    makers.emplace_back([&] { MakeChunks(inputs, queue, stopped); });
  for (uint32_t index = 1; index < count; ++index) {
    ATOLL_ASSIGN_OR_RETURN(const Chunk chunk, queue.Take());
    ATOLL_RETURN_IF_ERROR(out.AddSums(chunk));
    ATOLL_RETURN_IF_ERROR(out.next.AddHashedChunk(BytesOf(chunk.next), chunk.next_digest));
    squares.Add(chunk.squares);
  }
  return absl::OkStatus();
}

absl::Status CheckModel(const store::BlobReader& model, const kernels::VectorLayout& layout) {
  if (model.chunk_count() + 1 != layout.chunk_count()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the model has ", model.chunk_count(), " chunks, the update ", layout.chunk_count() - 1));
  }
  for (uint32_t i = 0; i < model.chunk_count(); ++i) {
    const uint64_t bytes = layout.chunk(i + 1).elements * sizeof(float);
    if (model.chunk_bytes(i) == bytes) continue;
    return absl::InvalidArgumentError(absl::StrCat("chunk ", i, " of the model has ",
                                                   model.chunk_bytes(i), " bytes, not ", bytes));
  }
  return absl::OkStatus();
}

}  // namespace

uint32_t SumThreads(uint32_t wanted) {
  const uint32_t threads = wanted > 0 ? wanted : std::thread::hardware_concurrency();
  return std::clamp(threads, 1u, kSumThreadsMax);
}

absl::StatusOr<SumOutcome> SumRound(const StartSum& task, const PartialSums& early,
                                    const store::BlobStore& blobs, store::VectorStore& vectors,
                                    uint32_t threads, const std::atomic<bool>& stopped) {
  const kernels::VectorLayout layout(task.segments);
  if (task.segments.size() != 2 ||
      layout.chunk(0).elements != task.segments[sitelink::kMetricsSegment].length) {
    return absl::InvalidArgumentError("a round's vector has metrics, in one chunk, and the update");
  }
  if (task.groups.empty()) return absl::InvalidArgumentError("a sum of no vectors");
  std::vector<Parts> parts(task.groups.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    ATOLL_ASSIGN_OR_RETURN(parts[i].vectors,
                           OpenVectors({task.job, task.round, task.slot, SiteId(0)},
                                       task.groups[i].survivors, layout, vectors));
    if (i < early.size()) parts[i].early = early[i];
  }
  ATOLL_ASSIGN_OR_RETURN(const store::BlobReader model, blobs.OpenBlob(task.model));
  ATOLL_RETURN_IF_ERROR(CheckModel(model, layout));
  ATOLL_ASSIGN_OR_RETURN(Outputs out, OpenOutputs(task, blobs));

  Inputs inputs{.task = task, .layout = layout, .parts = parts, .model = model, .step = {}};
  ATOLL_ASSIGN_OR_RETURN(ChunkMaker maker, ChunkMaker::Create(inputs));
  ATOLL_ASSIGN_OR_RETURN(const Chunk metrics, maker.Make(0));
  ATOLL_RETURN_IF_ERROR(out.AddSums(metrics));
  ATOLL_ASSIGN_OR_RETURN(SumOutcome outcome,
                         DecodeMetrics(metrics.sum, task.segments[sitelink::kMetricsSegment]));
  inputs.step.segment = task.segments[sitelink::kUpdateSegment];
  inputs.step.server_lr = task.server_lr;
  const auto survivors = static_cast<uint32_t>(task.survivors.size());
  inputs.step.total_weight = survivors;
  if (task.weight_rule == secagg::WeightRule::kExamples) {
    ATOLL_ASSIGN_OR_RETURN(
        inputs.step.total_weight,
        strategy::TotalWeight(static_cast<int64_t>(outcome.weight), task.weight_max, survivors));
  }
  strategy::SumOfSquares squares;
  ATOLL_RETURN_IF_ERROR(WriteUpdate(inputs, SumThreads(threads), stopped, out, squares));
  outcome.next_range = strategy::NextRange(squares, inputs.step.segment, survivors);
  ATOLL_ASSIGN_OR_RETURN(outcome.sum, out.sum.Commit());
  ATOLL_ASSIGN_OR_RETURN(outcome.next_model, out.next.Commit());
  for (store::BlobWriter& group : out.groups) {
    ATOLL_ASSIGN_OR_RETURN(outcome.group_sums.emplace_back(), group.Commit());
  }
  // The only group left of a split run.
  if (task.groups.front().number > 0 && out.groups.empty()) outcome.group_sums = {outcome.sum};
  return outcome;
}

}  // namespace atl::coordinator

// What the coordinator's sum of a round costs.
#include <algorithm>
#include <chrono>

#include "comms/base/status.h"
#include "comms/sitelink/messages.h"
#include "federation/coordinator/early_sums.h"
#include "federation/coordinator/summing.h"
#include "federation/strategy/strategy.h"
#include "tests/bench/memory.h"
#include "tests/bench/secagg_round.h"

namespace atl::bench {
namespace {

coordinator::StartSum TaskOf(const RoundOptions& options, const Cohort& cohort, const Digest& model,
                             const Cohort::Unmasked& unmasked) {
  const RoundShape shape = ShapeOf(options);
  coordinator::StartSum task;
  task.job = JobId(1);
  task.round = RoundId(1);
  task.slot = cohort.slot();
  task.segments = shape.segments;
  task.survivors = unmasked.survivors;
  task.groups = {{.number = 0, .survivors = unmasked.survivors, .streams = unmasked.streams}};
  task.model = model;
  task.weight_max = shape.weight_max;
  return task;
}

// As they are once uploads have come: checked by this process, and closed.
absl::Status CheckVectors(const coordinator::StartSum& task, uint32_t sites,
                          store::VectorStore& vectors) {
  const kernels::VectorLayout layout(task.segments);
  std::vector<uint32_t> sizes;
  for (uint32_t i = 0; i < layout.chunk_count(); ++i)
    sizes.push_back(static_cast<uint32_t>(layout.chunk(i).bytes));
  for (uint32_t i = 1; i <= sites; ++i) {
    ATOLL_RETURN_IF_ERROR(
        vectors.OpenVector({task.job, task.round, task.slot, SiteId(i)}, sizes).status());
  }
  return absl::OkStatus();
}

// Core-seconds of what SumRound does with a sum once it is there: the server's step, hashing and
// writing.
absl::StatusOr<double> StepSeconds(const coordinator::StartSum& task, const Digest& sum,
                                   int repeats, const store::BlobStore& blobs) {
  ATOLL_ASSIGN_OR_RETURN(const store::BlobReader model, blobs.OpenBlob(task.model));
  ATOLL_ASSIGN_OR_RETURN(const store::BlobReader packed, blobs.OpenBlob(sum));
  std::vector<double> costs;
  for (int i = 0; i < repeats; ++i) {
    ATOLL_ASSIGN_OR_RETURN(store::BlobWriter sum_writer, blobs.NewBlob());
    ATOLL_ASSIGN_OR_RETURN(store::BlobWriter next_writer, blobs.NewBlob());
    double cost = 0;
    std::vector<float> values;
    for (uint32_t index = 1; index < packed.chunk_count(); ++index) {
      ATOLL_ASSIGN_OR_RETURN(const Bytes chunk, packed.ReadChunk(index));
      const double start = ThreadSeconds();
      values.resize(model.chunk_bytes(index - 1) / sizeof(float));
      const std::span<uint8_t> bytes(reinterpret_cast<uint8_t*>(values.data()),
                                     values.size() * sizeof(float));
      ATOLL_RETURN_IF_ERROR(model.ReadChunk(index - 1, bytes));
      ATOLL_RETURN_IF_ERROR(strategy::ApplyFedAvg(
          values, chunk, {.segment = task.segments[sitelink::kUpdateSegment], .total_weight = 1.0},
          values));
      ATOLL_RETURN_IF_ERROR(sum_writer.AddChunk(chunk));
      ATOLL_RETURN_IF_ERROR(next_writer.AddChunk(bytes));
      cost += ThreadSeconds() - start;
    }
    const double start = ThreadSeconds();
    ATOLL_RETURN_IF_ERROR(sum_writer.Commit().status());
    ATOLL_RETURN_IF_ERROR(next_writer.Commit().status());
    costs.push_back(cost + ThreadSeconds() - start);
  }
  return *std::min_element(costs.begin(), costs.end());
}

// What is added up early of vectors that come one by one: in passes, until fewer than one are left.
absl::StatusOr<coordinator::PartialSums> SumEarly(const coordinator::StartSum& task,
                                                  store::VectorStore& vectors) {
  ATOLL_ASSIGN_OR_RETURN(std::shared_ptr<coordinator::PartialSum> early,
                         coordinator::PartialSum::Create(task.segments, vectors));
  constexpr size_t kPass = coordinator::kEarlyPassVectors;
  for (size_t i = 0; i + kPass <= task.survivors.size(); i += kPass) {
    const std::vector<SiteId> sites(task.survivors.begin() + static_cast<ptrdiff_t>(i),
                                    task.survivors.begin() + static_cast<ptrdiff_t>(i + kPass));
    ATOLL_ASSIGN_OR_RETURN(
        const auto opened,
        coordinator::OpenVectors({task.job, task.round, task.slot, SiteId(0)}, sites,
                                 kernels::VectorLayout(task.segments), vectors));
    ATOLL_RETURN_IF_ERROR(early->Add(opened, [] { return false; }));
  }
  return coordinator::PartialSums{std::move(early)};
}

// SumRound for one case: the least of the repeats.
absl::StatusOr<SumFigures> Measure(const RoundOptions& options, const coordinator::StartSum& task,
                                   const coordinator::PartialSums& early, double secrets_s,
                                   const store::BlobStore& blobs, store::VectorStore& vectors) {
  const std::atomic<bool> stopped = false;
  SumFigures sum;
  std::vector<double> cores, walls;
  for (int i = 0; i < options.repeats; ++i) {
    const double start = ProcessSeconds();
    const auto start_wall = std::chrono::steady_clock::now();
    ATOLL_ASSIGN_OR_RETURN(
        const coordinator::SumOutcome outcome,
        coordinator::SumRound(task, early, blobs, vectors, options.threads, stopped));
    cores.push_back(ProcessSeconds() - start + secrets_s);
    walls.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start_wall).count() +
        secrets_s);
    sum.sum = outcome.sum;
  }
  sum.core_s = *std::min_element(cores.begin(), cores.end());
  sum.core_median_s = Median(cores);
  sum.wall_s = *std::min_element(walls.begin(), walls.end());
  return sum;
}

}  // namespace

absl::StatusOr<CoordinatorFigures> MeasureCoordinator(const RoundOptions& options,
                                                      const Cohort& cohort, const Digest& model,
                                                      const std::vector<Cohort::Unmasked>& cases,
                                                      const std::filesystem::path& folder) {
  ATOLL_ASSIGN_OR_RETURN(const auto blobs, store::BlobStore::Open(folder / "blobs"));
  ATOLL_ASSIGN_OR_RETURN(const auto vectors, store::VectorStore::Open(folder / "staged"));
  ATOLL_RETURN_IF_ERROR(
      CheckVectors(TaskOf(options, cohort, model, cases[0]), options.sites, *vectors));
  CoordinatorFigures figures;
  const PeakMemory peak;
  for (const Cohort::Unmasked& unmasked : cases) {
    const coordinator::StartSum task = TaskOf(options, cohort, model, unmasked);
    ATOLL_ASSIGN_OR_RETURN(figures.sums.emplace_back(),
                           Measure(options, task, {}, unmasked.core_s, blobs, *vectors));
  }
  const coordinator::StartSum task = TaskOf(options, cohort, model, cases[1]);
  const double start = ProcessSeconds();
  ATOLL_ASSIGN_OR_RETURN(const coordinator::PartialSums early, SumEarly(task, *vectors));
  figures.early = ProcessSeconds() - start;
  ATOLL_ASSIGN_OR_RETURN(figures.after_early,
                         Measure(options, task, early, cases[1].core_s, blobs, *vectors));
  if (figures.after_early.sum != figures.sums[1].sum)
    return absl::InternalError("vectors that are added up early make another sum");
  figures.peak_mib = peak.OverBaselineMib();

  ATOLL_ASSIGN_OR_RETURN(figures.step, StepSeconds(TaskOf(options, cohort, model, cases[0]),
                                                   figures.sums[0].sum, options.repeats, blobs));
  return figures;
}

}  // namespace atl::bench

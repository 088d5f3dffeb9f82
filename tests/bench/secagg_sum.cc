// What the coordinator's sum of a round costs.
#include <chrono>

#include "comms/base/status.h"
#include "comms/sitelink/messages.h"
#include "federation/coordinator/summing.h"
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
  const std::atomic<bool> stopped = false;
  const PeakMemory peak;
  for (const Cohort::Unmasked& unmasked : cases) {
    const coordinator::StartSum task = TaskOf(options, cohort, model, unmasked);
    SumFigures sum;
    std::vector<double> cores, walls;
    for (int i = 0; i < options.repeats; ++i) {
      const double start = ProcessSeconds();
      const auto start_wall = std::chrono::steady_clock::now();
      ATOLL_ASSIGN_OR_RETURN(
          const coordinator::SumOutcome outcome,
          coordinator::SumRound(task, blobs, *vectors, options.threads, stopped));
      cores.push_back(ProcessSeconds() - start + unmasked.core_s);
      walls.push_back(
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start_wall).count() +
          unmasked.core_s);
      sum.sum = outcome.sum;
      sum.next_model = outcome.next_model;
    }
    sum.core_s = *std::min_element(cores.begin(), cores.end());
    sum.core_median_s = Median(cores);
    sum.wall_s = *std::min_element(walls.begin(), walls.end());
    figures.sums.push_back(sum);
  }
  figures.peak_mib = peak.OverBaselineMib();

  const kernels::VectorLayout layout(ShapeOf(options).segments);
  const Bytes zeros(size_t{1} << 20);
  const uint64_t hashed = layout.packed_bytes() + 2 * sizeof(float) * options.coordinates;
  const double start = ThreadSeconds();
  for (uint64_t done = 0; done < hashed; done += zeros.size())
    (void)Sha256::Of(ByteView(zeros).first(std::min<uint64_t>(zeros.size(), hashed - done)));
  figures.hash = ThreadSeconds() - start;
  return figures;
}

}  // namespace atl::bench

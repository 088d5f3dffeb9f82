// One round of secure aggregation, cut where it is measured: what a site does, what the coordinator
// does. All through the functions that agent, trainer and coordinator call.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "federation/store/blob_store.h"
#include "federation/store/vector_store.h"
#include "tests/bench/secagg_cohort.h"

namespace atl::bench {

struct RoundOptions {
  uint64_t coordinates = 0;
  uint32_t sites = 0;
  uint32_t value_bits = 10;
  uint32_t threads = 1;  // of the coordinator's sum; of a site's critical path
  int repeats = 3;
};

// The round's vector: metrics and the update. The update's values lie within +-amplitude, clipping
// is in force, and the scale is such that what is clipped fills the value bits.
struct RoundShape {
  std::vector<kernels::Segment> segments;
  double clip_norm_l2 = 0;
  uint64_t weight_max = 0;
};
RoundShape ShapeOf(const RoundOptions& options);
// What site `site` has trained on.
uint64_t ExamplesOf(SiteId site);

struct SiteFigures {
  // Core-seconds, the least and the median of the repeats.
  struct Cost {
    double least = 0, median = 0;
  };
  Cost clip, quantise_pack, mask, whole;    // whole: clip, quantise, pack and mask
  Cost critical_one_core, critical;         // wall seconds, masks expanded ahead; all threads
  double ahead = 0;                         // core-seconds of that expansion, before
  double hash = 0;                          // core-seconds of SHA-256 and the Merkle root
  double stage = 0, stage_wall = 0;         // writing and syncing every chunk
  double send = 0;                          // encoding every chunk and writing it to a local socket
  double peak_mib = 0, peak_ahead_mib = 0;  // over a process that holds both models
  std::vector<Digest> roots;                // of all sites' vectors
};

// Measures one site, then stages the vectors of all under `folder`/staged. Leaves no memory behind
// if run in a child process.
absl::StatusOr<SiteFigures> MeasureSite(const RoundOptions& options, const Cohort& cohort,
                                        const std::filesystem::path& folder);

struct SumFigures {
  double core_s = 0, core_median_s = 0, wall_s = 0;  // least (and median) of the repeats
  Digest sum{};
};
struct CoordinatorFigures {
  std::vector<SumFigures> sums;  // one a case
  double peak_mib = 0;           // over the idle coordinator, the most of all cases
  // The second case where vectors come one after the other: what is done before the last of them is
  // there (core-seconds), and what is left to do then.
  double early = 0;
  SumFigures after_early;
  double step = 0;  // core-seconds of it that are neither: the server's step, hashing, writing
};
// SumRound for each case.
absl::StatusOr<CoordinatorFigures> MeasureCoordinator(const RoundOptions& options,
                                                      const Cohort& cohort, const Digest& model,
                                                      const std::vector<Cohort::Unmasked>& cases,
                                                      const std::filesystem::path& folder);

// Writes the global model as a blob.
absl::StatusOr<Digest> WriteModel(const RoundOptions& options, const store::BlobStore& blobs);

// OK when the sum's first, last and some other chunks are the sums of what these sites quantised.
absl::Status CheckSum(const RoundOptions& options, const std::vector<SiteId>& survivors,
                      const Digest& sum, const store::BlobStore& blobs);

}  // namespace atl::bench

// The order in which a site's examples are used, shared out over its ranks.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace atl::trainer {

struct SamplerOptions {
  uint64_t seed = 0;
  uint32_t round = 0, epoch = 0, site = 0;  // each combination has an order of its own
  uint32_t rank = 0, ranks = 1;             // rank < ranks
  uint32_t batch_size = 1;                  // per rank, > 0
  uint64_t done = 0;                        // examples of the order that were used before
};

// One epoch, or what is left of it. Step s uses a global batch, examples [done + s * ranks *
// batch_size, ...) of the order, the same whatever the number of ranks as long as ranks *
// batch_size is; each rank takes an even part of it. The last one may be smaller, and a rank's part
// of it even empty, so that all ranks make the same number of steps and no example is used twice.
class EpochSampler {
 public:
  EpochSampler(std::span<const uint32_t> examples, const SamplerOptions& options);

  uint32_t steps() const { return steps_; }
  // Examples of the global batch of a step (step < steps()).
  uint32_t global_batch(uint32_t step) const;
  // This rank's part of it; a view that lives as long as the sampler.
  std::span<const uint32_t> batch(uint32_t step) const;

 private:
  std::vector<uint32_t> order_;
  SamplerOptions options_;
  uint64_t global_size_;
  uint32_t steps_ = 0;
};

// Rank's even, contiguous part of `count` items: [first, last).
struct Range {
  uint64_t first = 0, last = 0;
  uint64_t size() const { return last - first; }
  bool operator==(const Range&) const = default;
};
Range PartOf(uint64_t count, uint32_t rank, uint32_t ranks);

}  // namespace atl::trainer

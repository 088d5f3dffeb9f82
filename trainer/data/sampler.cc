#include "trainer/data/sampler.h"

#include <algorithm>

#include "comms/base/random.h"

namespace atl::trainer {

Range PartOf(uint64_t count, uint32_t rank, uint32_t ranks) {
  // 128 bits: count may be any number of coordinates.
  using Wide = unsigned __int128;
  return {static_cast<uint64_t>(Wide{count} * rank / ranks),
          static_cast<uint64_t>(Wide{count} * (rank + 1) / ranks)};
}

EpochSampler::EpochSampler(std::span<const uint32_t> examples, const SamplerOptions& options)
    : order_(examples.begin(), examples.end()),
      options_(options),
      global_size_(uint64_t{options.ranks} * options.batch_size) {
  // The stream's rank field carries the epoch: the order is one for all ranks.
  SeededRandom random({.seed = options.seed,
                       .label = "sampler",
                       .round = options.round,
                       .site = options.site,
                       .rank = options.epoch});
  random.Shuffle(std::span(order_));
  const uint64_t done = std::min<uint64_t>(options.done, order_.size());
  order_.erase(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(done));
  steps_ = static_cast<uint32_t>((order_.size() + global_size_ - 1) / global_size_);
}

uint32_t EpochSampler::global_batch(uint32_t step) const {
  return static_cast<uint32_t>(
      std::min<uint64_t>(global_size_, order_.size() - step * global_size_));
}

std::span<const uint32_t> EpochSampler::batch(uint32_t step) const {
  Range part = PartOf(global_batch(step), options_.rank, options_.ranks);
  return std::span(order_).subspan(step * global_size_ + part.first, part.size());
}

}  // namespace atl::trainer

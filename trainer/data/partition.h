// Which site holds which examples, as in NIID-Bench (Li et al., 2102.02079). Pure functions of
// labels and seed: the same lists on every machine, so each site works out its own part.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "recipes/schema/recipe.h"

namespace atl::trainer {

// One list of example indices a site, each ascending.
using Partition = std::vector<std::vector<uint32_t>>;

// What each scheme needs at least: sites > 0, and as many examples as sites. All give
// INVALID_ARGUMENT otherwise.

// Shuffled, parts whose sizes differ by at most one. Every example once.
absl::StatusOr<Partition> PartitionIid(uint32_t examples, uint32_t sites, uint64_t seed);

// For each class, shares of the sites ~ Dir(alpha); a site that already has its even share of all
// examples gets no more. Drawn again until every site has at least 10 examples (fewer where sites *
// 10 > examples). Every example once. INVALID_ARGUMENT when 1000 draws do not do: alpha is too
// small for so many sites.
absl::StatusOr<Partition> PartitionDirichlet(std::span<const uint32_t> labels, uint32_t sites,
                                             double alpha, uint64_t seed);

// Each site has k classes: site i class i mod classes, the others drawn. A class's examples are
// split evenly among the sites that have it; examples of a class that no site has are left out. 1
// <= k <= classes. No example twice.
absl::StatusOr<Partition> PartitionLabels(std::span<const uint32_t> labels, uint32_t sites,
                                          uint32_t classes, uint32_t k, uint64_t seed);

// Examples that come from site i of the data set go to site i mod sites. At least as many sites in
// the data (sites_of holds indices below data_sites) as there are to be.
absl::StatusOr<Partition> PartitionBySite(std::span<const uint32_t> sites_of, uint32_t data_sites,
                                          uint32_t sites);

// What a partition may go by: the class of each example, and the site each is from; [examples], or
// empty where the data set has none (then schemes that need them are INVALID_ARGUMENT).
struct PartitionKeys {
  uint32_t examples = 0;
  std::span<const uint32_t> labels = {};
  uint32_t classes = 0;
  std::span<const uint32_t> sites_of = {};
  uint32_t data_sites = 0;
};
// The scheme that the recipe names.
absl::StatusOr<Partition> MakePartition(const recipes::Partition& scheme, const PartitionKeys& keys,
                                        uint32_t sites, uint64_t seed);

}  // namespace atl::trainer

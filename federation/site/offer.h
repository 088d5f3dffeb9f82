// A coordinator's offer of a job, checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"
#include "comms/base/ids.h"
#include "comms/rpc/atoll.pb.h"
#include "federation/secagg/group_bound.h"
#include "federation/secagg/messages.h"
#include "federation/secagg/site_slot.h"
#include "recipes/schema/recipe.h"

namespace atl::site {

struct Offer {
  JobId job;
  secagg::RunId run{};
  std::string recipe_yaml;
  Digest recipe_digest{};  // SHA-256 of recipe_yaml
  recipes::Recipe recipe;
  Digest model{}, first_model{};
  uint64_t parameters = 0;
  uint32_t site_index = 0, site_count = 0;
  RoundId round;  // that `model` goes into

  secagg::GroupTerms terms() const {
    return {static_cast<uint32_t>(recipe.secure_aggregation.group_size_max),
            static_cast<uint32_t>(recipe.secure_aggregation.corrupt_sites_max)};
  }
  // The run is split into groups before it has slots.
  bool is_grouped() const {
    return recipe.secure_aggregation.enabled && site_count > terms().size_max;
  }
};

// What a site has and demands.
struct OfferLimits {
  double cpus = 0, memory_gb = 0;
  secagg::SiteFloors floors;
};

// SHA-256 of what decides which examples this site trains on: data set, folder, limit, partition,
// seed, and the site's part of them. Two ways to write one folder give one digest.
Digest DataDigest(const Offer& offer);

// INVALID_ARGUMENT for what is no offer: sizes, a recipe that does not load.
absl::StatusOr<Offer> ParseOffer(const v1::JobOffer& offer);

// Whether a site takes part. PERMISSION_DENIED "the recipe asks for ...: this site ..." against its
// floors, RESOURCE_EXHAUSTED for what it does not have.
absl::Status CheckOffer(const Offer& offer, const OfferLimits& limits);

// What a job's masks are made with, and its slots' envelopes sealed.
kernels::MaskCipher MaskCipherOf(const recipes::Recipe& recipe);
Aead AeadOf(const recipes::Recipe& recipe);

// Whether the coordinator asks in this round for what the recipe says, beyond what secagg checks:
// INVALID_ARGUMENT when segments, clip, weights or suite are others than the recipe's, or the scale
// is not what its rule gives. `next_range`: strategy::NextRange of the last sum, as this site
// worked it out; none where it missed that sum, and then any range up to the clip will do.
absl::Status CheckRound(const secagg::Manifest& manifest, const Offer& offer,
                        std::optional<double> next_range);

}  // namespace atl::site

#include "federation/site/offer.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_format.h"
#include "comms/base/crypto/sha256.h"
#include "comms/base/status.h"
#include "comms/sitelink/messages.h"
#include "federation/strategy/scale.h"
#include "kernels/vector_layout.h"
#include "recipes/schema/load.h"

namespace atl::site {
namespace {

absl::Status BadOffer(const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat("job offer: ", why));
}

template <size_t N>
absl::Status Take(const std::string& field, const char* name, std::array<uint8_t, N>& out) {
  if (field.size() != N) {
    return BadOffer(absl::StrCat(name, " has ", field.size(), " bytes: must have ", N));
  }
  std::copy(field.begin(), field.end(), out.begin());
  return absl::OkStatus();
}

absl::Status BadRound(const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat("manifest: ", why));
}

}  // namespace

Digest DataDigest(const Offer& offer) {
  const recipes::Data& data = offer.recipe.data;
  std::string folder = std::filesystem::path(data.folder).lexically_normal().string();
  while (folder.size() > 1 && folder.back() == '/') folder.pop_back();
  ByteWriter writer;
  writer.Raw(AsBytes("atoll/data/v1")).Sized(ToString(data.dataset)).Sized(folder);
  writer.U64(static_cast<uint64_t>(data.limit));
  writer.Sized(ToString(data.partition.kind));
  writer.F64(data.partition.kind == recipes::PartitionKind::kDirichlet ? data.partition.alpha : 0);
  writer.U64(data.partition.kind == recipes::PartitionKind::kLabels
                 ? static_cast<uint64_t>(data.partition.labels)
                 : 0);
  writer.U64(offer.recipe.train.seed).U32(offer.site_index).U32(offer.site_count);
  return Sha256::Of(writer.bytes());
}

absl::StatusOr<Offer> ParseOffer(const v1::JobOffer& message) {
  Offer offer;
  offer.job = JobId(message.job_id());
  if (message.job_id() == 0) return BadOffer("job 0");
  ATOLL_RETURN_IF_ERROR(Take(message.run(), "run", offer.run));
  ATOLL_RETURN_IF_ERROR(Take(message.model(), "model", offer.model));
  ATOLL_RETURN_IF_ERROR(Take(message.first_model(), "first_model", offer.first_model));
  offer.parameters = message.parameters();
  if (offer.parameters == 0 || offer.parameters > kernels::kMaxElements) {
    return BadOffer(
        absl::StrCat("parameters ", offer.parameters, ": must be 1..", kernels::kMaxElements));
  }
  offer.site_index = message.site_index();
  offer.site_count = std::max(message.site_count(), 1u);
  if (offer.site_index >= offer.site_count) {
    return BadOffer(
        absl::StrCat("site_index ", offer.site_index, ": must be < site_count ", offer.site_count));
  }
  offer.round = RoundId(message.round());
  if (message.recipe_yaml().size() > recipes::kMaxRecipeBytes) {
    return BadOffer(absl::StrCat("a recipe of ", message.recipe_yaml().size(), " bytes: at most ",
                                 recipes::kMaxRecipeBytes));
  }
  offer.recipe_yaml = message.recipe_yaml();
  offer.recipe_digest = Sha256::Of(AsBytes(offer.recipe_yaml));
  ATOLL_ASSIGN_OR_RETURN(offer.recipe, recipes::ParseRecipe(offer.recipe_yaml, "recipe"));
  return offer;
}

absl::Status CheckOffer(const Offer& offer, const OfferLimits& limits) {
  const recipes::Recipe& recipe = offer.recipe;
  const secagg::SiteFloors& floors = limits.floors;
  const auto denied = [](const auto&... parts) {
    return absl::PermissionDeniedError(absl::StrCat("the recipe asks for ", parts...));
  };
  if (recipe.resources.cpus > limits.cpus) {
    return absl::ResourceExhaustedError(absl::StrCat("the recipe asks for ", recipe.resources.cpus,
                                                     " cpus: this site offers ", limits.cpus));
  }
  if (recipe.resources.memory_gb > limits.memory_gb) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the recipe asks for ", recipe.resources.memory_gb,
                     " GB of memory: this site offers ", limits.memory_gb));
  }
  if (recipe.secure_aggregation.clip_norm_l2 > floors.clip_norm_l2_max) {
    return denied("clip_norm_l2 ", recipe.secure_aggregation.clip_norm_l2,
                  ": this site allows at most ", floors.clip_norm_l2_max);
  }
  if (static_cast<uint64_t>(recipe.federation.weight_max) > floors.weight_max) {
    return denied("weight_max ", recipe.federation.weight_max, ": this site allows at most ",
                  floors.weight_max);
  }
  if (!recipe.secure_aggregation.enabled) {
    if (floors.allow_plain) return absl::OkStatus();
    return denied(
        "rounds without secure aggregation: this site does not allow them (its file's "
        "floors.allow_plain)");
  }
  if (offer.terms().corrupt_max < floors.corrupt_sites_max) {
    return denied("corrupt_sites_max ", offer.terms().corrupt_max, ": this site demands at least ",
                  floors.corrupt_sites_max, " (its file's floors.corrupt_sites_max)");
  }
  if (offer.is_grouped()) {
    const auto sizes = secagg::PickGroupSizes(offer.site_count, offer.terms());
    if (!sizes.ok()) return absl::PermissionDeniedError(std::string(sizes.status().message()));
  }
  if (offer.site_count < floors.cohort_min) {
    return denied("a cohort of ", offer.site_count, " sites: this site demands at least ",
                  floors.cohort_min, " (its file's floors.cohort_min)");
  }
  return absl::OkStatus();
}

kernels::MaskCipher MaskCipherOf(const recipes::Recipe& recipe) {
  return recipe.secure_aggregation.mask_cipher == "chacha20" ? kernels::MaskCipher::kChaCha20
                                                             : kernels::MaskCipher::kAes256Ctr;
}

Aead AeadOf(const recipes::Recipe& recipe) {
  return recipe.secure_aggregation.aead == "chacha20-poly1305" ? Aead::kChaCha20Poly1305
                                                               : Aead::kAes256Gcm;
}

namespace {

// The lowest scale that the rule may give is that of the clip.
absl::Status CheckScale(const kernels::Segment& update, const recipes::SecureAggregation& recipe,
                        std::optional<double> next_range) {
  const strategy::ScaleRule rule = strategy::ScaleRuleOf(recipe.scale);
  if (next_range || rule == strategy::ScaleRule::kClip) {
    const double range = strategy::RangeOf(rule, recipe.clip_norm_l2, next_range.value_or(0));
    if (const double scale = strategy::ScaleOf(update, range); update.scale != scale) {
      return BadRound(absl::StrFormat("scale %.17g: the recipe's rule %s gives %.17g", update.scale,
                                      recipe.scale, scale));
    }
    return absl::OkStatus();
  }
  const double least = strategy::ScaleOf(update, recipe.clip_norm_l2);
  const double most = strategy::ScaleOf(update, strategy::kRangeOfClipMin * recipe.clip_norm_l2);
  if (update.scale >= least && update.scale <= most) return absl::OkStatus();
  return BadRound(
      absl::StrFormat("scale %.17g: must be in [%.17g, %.17g]", update.scale, least, most));
}

}  // namespace

absl::Status CheckRound(const secagg::Manifest& manifest, const Offer& offer,
                        std::optional<double> next_range) {
  const recipes::Recipe& recipe = offer.recipe;
  if (manifest.masked != recipe.secure_aggregation.enabled) {
    return BadRound(absl::StrCat("masked is ", manifest.masked, ": the recipe says ",
                                 recipe.secure_aggregation.enabled));
  }
  if (manifest.segments.size() != 2) {
    return BadRound(absl::StrCat(manifest.segments.size(), " segments: must be 2"));
  }
  const kernels::Segment& metrics = manifest.segments[sitelink::kMetricsSegment];
  const kernels::Segment& update = manifest.segments[sitelink::kUpdateSegment];
  if (metrics.length != sitelink::kMetricCount ||
      metrics.value_bits != sitelink::kMetricValueBits) {
    return BadRound(absl::StrCat("metrics of ", metrics.length, " values of ", metrics.value_bits,
                                 " bits: must be ", sitelink::kMetricCount, " of ",
                                 sitelink::kMetricValueBits));
  }
  if (metrics.scale != 1) return BadRound(absl::StrCat("metrics of scale ", metrics.scale));
  if (manifest.weight_max > static_cast<uint64_t>(metrics.bound())) {
    return BadRound(absl::StrCat("weight_max ", manifest.weight_max, ": metrics of ",
                                 metrics.value_bits, " bits hold at most ", metrics.bound()));
  }
  if (update.length != offer.parameters) {
    return BadRound(absl::StrCat("an update of ", update.length, " coordinates: the model has ",
                                 offer.parameters));
  }
  if (update.value_bits != static_cast<uint32_t>(recipe.secure_aggregation.value_bits)) {
    return BadRound(absl::StrCat("value_bits ", update.value_bits, ": the recipe says ",
                                 recipe.secure_aggregation.value_bits));
  }
  if (manifest.clip_norm_l2 != recipe.secure_aggregation.clip_norm_l2) {
    return BadRound(absl::StrCat("clip_norm_l2 ", manifest.clip_norm_l2, ": the recipe says ",
                                 recipe.secure_aggregation.clip_norm_l2));
  }
  const secagg::WeightRule rule = recipe.federation.weighting == "uniform"
                                      ? secagg::WeightRule::kUniform
                                      : secagg::WeightRule::kExamples;
  if (manifest.weight_rule != rule) return BadRound("a weight rule that is not the recipe's");
  if (manifest.weight_max != static_cast<uint64_t>(recipe.federation.weight_max)) {
    return BadRound(absl::StrCat("weight_max ", manifest.weight_max, ": the recipe says ",
                                 recipe.federation.weight_max));
  }
  if (manifest.cipher != MaskCipherOf(recipe)) {
    return BadRound(absl::StrCat("another mask cipher than the recipe's, which is ",
                                 recipe.secure_aggregation.mask_cipher));
  }
  return CheckScale(update, recipe.secure_aggregation, next_range);
}

}  // namespace atl::site

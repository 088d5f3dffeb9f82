// R0: what a site checks before it spends a second of training; R1: it is ready.
#include <cmath>

#include "federation/secagg/site_impl.h"
#include "kernels/vector_layout.h"

namespace atl::secagg {
namespace {

absl::Status Bad(const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat("manifest: ", why));
}

absl::Status Denied(const std::string& why) {
  return absl::PermissionDeniedError(absl::StrCat("manifest: ", why));
}

absl::Status CheckSegments(const std::vector<kernels::Segment>& segments, uint32_t sites) {
  const std::string problem = kernels::VectorLayout::Problem(segments);
  if (!problem.empty()) return Bad(problem);
  for (size_t i = 0; i < segments.size(); ++i) {
    const kernels::Segment& segment = segments[i];
    const uint32_t least = kernels::SumBits(segment.value_bits, sites);
    if (segment.sum_bits < least) {
      return Bad(absl::StrCat("segment ", i, ": sum_bits ", segment.sum_bits,
                              ": must be >= ", least, ", or a sum of ", sites, " values of ",
                              segment.value_bits, " bits overflows"));
    }
    if (!std::isfinite(segment.scale) || segment.scale <= 0) {
      return Bad(absl::StrCat("segment ", i, ": scale ", segment.scale, ": must be > 0"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckManifestBasics(const SiteFloors& floors, SiteId self, const Manifest& manifest,
                                 const ManifestExpectation& expected, uint32_t sites) {
  if (manifest.round != expected.round) {
    return Bad(absl::StrCat("round ", manifest.round.value(), ": this site is at ",
                            expected.round.value()));
  }
  if (manifest.model != expected.model) {
    return Bad(
        absl::StrCat("model ", Hex(manifest.model), ": this site has ", Hex(expected.model)));
  }
  if (manifest.recipe != expected.recipe) {
    return Bad(absl::StrCat("recipe ", Hex(manifest.recipe), ": this site agreed to ",
                            Hex(expected.recipe)));
  }
  if (!IsSortedSet(manifest.members)) return Bad("members stand twice or out of order");
  if (!Contains(manifest.members, self)) return Bad("this site is not among the members");
  ATOLL_RETURN_IF_ERROR(CheckSegments(manifest.segments, sites));
  if (!std::isfinite(manifest.clip_norm_l2) || manifest.clip_norm_l2 <= 0) {
    return Bad(absl::StrCat("clip_norm_l2 ", manifest.clip_norm_l2, ": must be > 0"));
  }
  if (manifest.clip_norm_l2 > floors.clip_norm_l2_max) {
    return Denied(absl::StrCat("clip_norm_l2 ", manifest.clip_norm_l2,
                               ": this site allows at most ", floors.clip_norm_l2_max));
  }
  if (manifest.weight_rule != WeightRule::kUniform &&
      manifest.weight_rule != WeightRule::kExamples) {
    return Bad("unknown weight rule");
  }
  if (manifest.weight_max < 1) return Bad("weight_max 0: must be >= 1");
  if (manifest.weight_max > floors.weight_max) {
    return Denied(absl::StrCat("weight_max ", manifest.weight_max, ": this site allows at most ",
                               floors.weight_max));
  }
  if (manifest.cipher != kernels::MaskCipher::kAes256Ctr &&
      manifest.cipher != kernels::MaskCipher::kChaCha20) {
    return Bad("unknown mask cipher");
  }
  if (manifest.noise_stddev != 0) {
    return Bad(absl::StrCat("noise_stddev ", manifest.noise_stddev,
                            ": must be 0, this version of Atoll adds no noise"));
  }
  return absl::OkStatus();
}

absl::Status CheckPlainManifest(const SiteIdentity& identity, const RunId& run,
                                const Manifest& manifest, const ManifestExpectation& expected) {
  if (!identity.floors.allow_plain) {
    return Denied("a round without secure aggregation: this site does not allow it");
  }
  if (manifest.masked) return Bad("masked, but without a slot");
  if (manifest.run != run) return Bad("of another run");
  return CheckManifestBasics(identity.floors, identity.id, manifest, expected,
                             static_cast<uint32_t>(manifest.members.size()));
}

absl::Status SiteSlot::Impl::CheckSet(std::string_view what, const std::vector<SiteId>& set,
                                      std::string_view super_name,
                                      const std::vector<SiteId>& super) const {
  const std::string name(what);
  if (!IsSortedSet(set)) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": a site stands twice or out of order"));
  }
  for (SiteId id : set) {
    if (!Contains(super, id)) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": ", Name(id), " is not in ", std::string(super_name)));
    }
  }
  if (!Contains(set, record.id)) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": this site is not in it"));
  }
  if (set.size() < record.threshold) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", set.size(), " sites: must be >= t = ", record.threshold));
  }
  if (const uint32_t least = EffectiveCohortMin(floors()); set.size() < least) {
    return absl::PermissionDeniedError(
        absl::StrCat(name, ": ", set.size(), " sites: this site's floor is ", least));
  }
  return absl::OkStatus();
}

absl::Status SiteSlot::Impl::CheckManifest(const Manifest& manifest,
                                           const ManifestExpectation& expected) const {
  ATOLL_RETURN_IF_ERROR(Require(SlotState::kShared, "manifest"));
  if (!record.receipt) {
    return absl::FailedPreconditionError("manifest: the slot's shares have not been taken yet");
  }
  if (record.manifest && HashOf(*record.manifest) != HashOf(manifest)) return Differs("manifest");
  if (!manifest.masked)
    return Bad("a slot is for rounds under secure aggregation: masked is false");
  if (manifest.run != record.session.run) return Bad("of another run");
  if (manifest.slot != record.session.slot) {
    return Bad(
        absl::StrCat("slot ", manifest.slot.value(), ": this is ", record.session.slot.value()));
  }
  if (manifest.group != record.session.group) {
    return Bad(absl::StrCat("group ", manifest.group, ": this is ", record.session.group));
  }
  if (manifest.aead != record.session.aead) {
    return Bad(absl::StrCat("envelopes under ", NameOf(manifest.aead), ": this slot's were under ",
                            NameOf(record.session.aead)));
  }
  if (manifest.pre_keys != HashOf(record.u0)) return Bad("H(U0) is not that of the U0 dealt to");
  if (manifest.threshold != record.threshold) {
    return Bad(absl::StrCat("t = ", manifest.threshold, ": must be ", record.threshold));
  }
  const std::vector<SiteId> u0 = IdsOf(record.u0);
  ATOLL_RETURN_IF_ERROR(CheckSet("manifest: U1", manifest.members, "U0", u0));
  for (SiteId id : manifest.members) {
    if (Contains(record.receipt->complaints, id)) {
      return Bad(absl::StrCat("U1: this site holds no shares of ", Name(id)));
    }
  }
  return CheckManifestBasics(
      floors(), record.id, manifest, expected,
      record.scope.total > 0 ? record.scope.total : static_cast<uint32_t>(u0.size()));
}

absl::Status SiteSlot::CheckManifest(const Manifest& manifest,
                                     const ManifestExpectation& expected) const {
  return impl_->CheckManifest(manifest, expected);
}

absl::StatusOr<Ready> SiteSlot::SignReady(const Manifest& manifest,
                                          const ManifestExpectation& expected) {
  ATOLL_RETURN_IF_ERROR(impl_->CheckManifest(manifest, expected));
  if (impl_->record.ready) return *impl_->record.ready;
  SiteRecord next = impl_->record;
  next.manifest = manifest;
  next.ready = Ready{next.id, impl_->Sign(kReadyLabel, ReadyBody(HashOf(manifest)))};
  next.state = SlotState::kReady;
  ATOLL_RETURN_IF_ERROR(impl_->Advance(std::move(next)));
  return *impl_->record.ready;
}

}  // namespace atl::secagg

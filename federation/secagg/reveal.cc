#include "federation/secagg/reveal.h"

#include "comms/base/status.h"
#include "federation/secagg/mask_keys.h"
#include "federation/secagg/signed_bodies.h"

namespace atl::secagg {

bool IsSecretOf(const CryptoSuite& suite, const Session& session, const PreKeyRecord& owner,
                const RevealedSecret& revealed) {
  return revealed.kind == ShareKind::kSelf
             ? SelfCommitment(session, owner.id, revealed.secret) == owner.b_commit
             : suite.AgreementKeyPair(revealed.secret).public_key == owner.mask_key;
}

absl::StatusOr<std::vector<MaskStream>> RevealedStreams(
    const CryptoSuite& suite, const Digest& context, const std::vector<kernels::Segment>& segments,
    const PreKeySet& u0, const std::vector<SiteId>& u3,
    const std::vector<RevealedSecret>& secrets) {
  const std::vector<SiteId> ids = IdsOf(u0);
  const auto key_of = [&](SiteId id) -> const PublicKey& {
    return u0.records[RankOf(ids, id)].mask_key;
  };
  const auto lane_bits = [&](uint32_t segment) { return 8 * segments[segment].lane_bytes(); };
  std::vector<MaskStream> streams;
  for (const RevealedSecret& revealed : secrets) {
    const SiteId owner = revealed.owner;
    if (revealed.kind == ShareKind::kSelf) {
      for (uint32_t g = 0; g < segments.size(); ++g) {
        streams.push_back({g, /*subtract=*/true,
                           SelfStreamKey(suite, revealed.secret, context, owner, g, lane_bits(g))});
      }
      continue;
    }
    // What each survivor put on for its pair with the dropped owner: plus when the owner's id is
    // the higher.
    for (SiteId survivor : u3) {
      ATOLL_ASSIGN_OR_RETURN(const Secret32 agreed, suite.Agree(revealed.secret, key_of(survivor)));
      for (uint32_t g = 0; g < segments.size(); ++g) {
        streams.push_back({g, /*subtract=*/owner > survivor,
                           PairStreamKey(suite, agreed, context, {owner, key_of(owner)},
                                         {survivor, key_of(survivor)}, g, lane_bits(g))});
      }
    }
  }
  return streams;
}

}  // namespace atl::secagg

// R4 at the coordinator: secrets from shares, checked, and the key streams to take off the sum.
#include "federation/secagg/coordinator_impl.h"
#include "federation/secagg/mask_keys.h"
#include "federation/secagg/shamir.h"

namespace atl::secagg {

absl::Status CoordinatorSlot::AddAnswer(const UnmaskAnswer& answer) {
  Impl& s = *impl_;
  ATOLL_RETURN_IF_ERROR(s.Require(Impl::Phase::kUnmask, "unmask"));
  ATOLL_RETURN_IF_ERROR(RequireMember("unmask", s.u3, answer.id, "U3"));
  Bytes body = UnmaskBody(s.context, answer.items);
  const absl::Status signed_well = s.Verify(answer.id, kUnmaskLabel, body, answer.signature);
  Wipe(body);
  ATOLL_RETURN_IF_ERROR(signed_well);
  if (answer.items.size() != s.u2.size()) {
    return absl::InvalidArgumentError(absl::StrCat("unmask: ", Name(answer.id), " sent ",
                                                   answer.items.size(), " shares, U2 has ",
                                                   s.u2.size(), " sites"));
  }
  const int rank = RankOf(s.u0, answer.id);
  for (size_t i = 0; i < s.u2.size(); ++i) {
    const UnmaskAnswer::Item& item = answer.items[i];
    const ShareKind kind = Contains(s.u3, s.u2[i]) ? ShareKind::kSelf : ShareKind::kMaskKey;
    if (item.owner != s.u2[i] || item.kind != kind) {
      return absl::InvalidArgumentError(absl::StrCat("unmask: ", Name(answer.id),
                                                     " sent another share than was asked for of ",
                                                     Name(s.u2[i])));
    }
    const ShareBundle& bundle = s.bundles.at(item.owner);
    const Digest& expected =
        (kind == ShareKind::kSelf ? bundle.b_share_hashes : bundle.mask_share_hashes)[rank];
    if (ShareHash(s.session, kind, item.owner, answer.id, item.share) != expected) {
      return absl::InvalidArgumentError(absl::StrCat("unmask: ", Name(answer.id),
                                                     " sent a wrong share of ", Name(item.owner),
                                                     ": its hash is not the dealer's"));
    }
  }
  return Keep(s.answers, answer.id, answer, "unmask");
}

bool CoordinatorSlot::CanUnmask() const {
  return impl_->phase == Impl::Phase::kUnmask && impl_->answers.size() >= impl_->threshold;
}

absl::StatusOr<std::vector<MaskStream>> CoordinatorSlot::StreamsToRemove() const {
  const Impl& s = *impl_;
  ATOLL_RETURN_IF_ERROR(s.Require(Impl::Phase::kUnmask, "unmask"));
  ATOLL_RETURN_IF_ERROR(s.Enough("answers to unmask", s.answers.size(), 0));
  std::vector<MaskStream> streams;
  for (size_t i = 0; i < s.u2.size(); ++i) {
    const SiteId owner = s.u2[i];
    const PreKeyRecord& record = s.records.at(owner);
    std::vector<ShamirShare> shares;
    for (auto it = s.answers.begin(); shares.size() < s.threshold; ++it) {
      shares.push_back(
          {static_cast<uint8_t>(1 + RankOf(s.u0, it->first)), it->second.items[i].share});
    }
    ATOLL_ASSIGN_OR_RETURN(const Secret32 secret, CombineShares(shares));
    const bool alive = Contains(s.u3, owner);
    const bool good = alive ? SelfCommitment(s.session, owner, secret) == record.b_commit
                            : s.suite->AgreementKeyPair(secret).public_key == record.mask_key;
    if (!good) {
      return absl::AbortedError(absl::StrCat(
          "unmask: ", Name(owner), " dealt shares of another secret than it committed to"));
    }
    if (alive) {
      for (uint32_t g = 0; g < s.manifest->segments.size(); ++g) {
        const uint32_t lane_bits = 8 * s.manifest->segments[g].lane_bytes();
        streams.push_back({g, /*subtract=*/true,
                           SelfStreamKey(*s.suite, secret, s.context, owner, g, lane_bits)});
      }
      continue;
    }
    // What each survivor put on for its pair with the dropped owner: plus when the owner's id is
    // the higher.
    for (SiteId survivor : s.u3) {
      const PublicKey& key = s.records.at(survivor).mask_key;
      ATOLL_ASSIGN_OR_RETURN(const Secret32 agreed, s.suite->Agree(secret, key));
      for (uint32_t g = 0; g < s.manifest->segments.size(); ++g) {
        const uint32_t lane_bits = 8 * s.manifest->segments[g].lane_bytes();
        streams.push_back({g, /*subtract=*/owner > survivor,
                           PairStreamKey(*s.suite, agreed, s.context, {owner, record.mask_key},
                                         {survivor, key}, g, lane_bits)});
      }
    }
  }
  return streams;
}

}  // namespace atl::secagg

// R4 at the coordinator: secrets from shares, checked, and the key streams to take off the sum.
#include "federation/secagg/coordinator_impl.h"
#include "federation/secagg/mask_keys.h"
#include "federation/secagg/reveal.h"
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

absl::StatusOr<std::vector<RevealedSecret>> CoordinatorSlot::RevealSecrets() const {
  const Impl& s = *impl_;
  ATOLL_RETURN_IF_ERROR(s.Require(Impl::Phase::kUnmask, "unmask"));
  ATOLL_RETURN_IF_ERROR(s.Enough("answers to unmask", s.answers.size(), 0));
  std::vector<RevealedSecret> secrets;
  secrets.reserve(s.u2.size());
  for (size_t i = 0; i < s.u2.size(); ++i) {
    const SiteId owner = s.u2[i];
    std::vector<ShamirShare> shares;
    shares.reserve(s.threshold);
    for (auto it = s.answers.begin(); shares.size() < s.threshold; ++it) {
      shares.push_back(
          {static_cast<uint8_t>(1 + RankOf(s.u0, it->first)), it->second.items[i].share});
    }
    ATOLL_ASSIGN_OR_RETURN(const Secret32 secret, CombineShares(shares));
    const ShareKind kind = Contains(s.u3, owner) ? ShareKind::kSelf : ShareKind::kMaskKey;
    secrets.push_back({owner, kind, secret});
    if (!IsSecretOf(*s.suite, s.session, s.records.at(owner), secrets.back())) {
      return absl::AbortedError(absl::StrCat(
          "unmask: ", Name(owner), " dealt shares of another secret than it committed to"));
    }
  }
  return secrets;
}

absl::StatusOr<std::vector<MaskStream>> CoordinatorSlot::StreamsToRemove(
    const std::vector<RevealedSecret>& secrets) const {
  const Impl& s = *impl_;
  ATOLL_RETURN_IF_ERROR(s.Require(Impl::Phase::kUnmask, "unmask"));
  return RevealedStreams(*s.suite, s.context, s.manifest->segments, s.pre_keys, s.u3, secrets);
}

absl::StatusOr<std::vector<MaskStream>> CoordinatorSlot::StreamsToRemove() const {
  ATOLL_ASSIGN_OR_RETURN(const std::vector<RevealedSecret> secrets, RevealSecrets());
  return StreamsToRemove(secrets);
}

}  // namespace atl::secagg

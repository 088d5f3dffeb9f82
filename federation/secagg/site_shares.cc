// E2: a site deals shares of its two secrets to U0, and opens what the others dealt to it.
#include <set>

#include "comms/base/crypto/sha256.h"
#include "federation/secagg/fields.h"
#include "federation/secagg/group_bound.h"
#include "federation/secagg/mask_keys.h"
#include "federation/secagg/shamir.h"
#include "federation/secagg/site_impl.h"

namespace atl::secagg {
namespace {

Bytes SealShares(const CryptoSuite& suite, Aead aead, const Secret32& key, ByteView binding,
                 const HeldShares& shares) {
  ByteWriter writer;
  writer.Reserve(64).Raw(shares.mask_key.span()).Raw(shares.b.span());
  Bytes plaintext = std::move(writer).Take();
  Bytes envelope = suite.SealOnce(aead, key, binding, plaintext);
  Wipe(plaintext);
  return envelope;
}

}  // namespace

absl::Status SiteSlot::Impl::CheckPreKeySet(const PreKeySet& u0) const {
  const auto n0 = static_cast<uint32_t>(u0.records.size());
  if (n0 > kMaxSites) {
    return absl::InvalidArgumentError(absl::StrCat("U0: ", n0, " sites: must be <= ", kMaxSites));
  }
  const uint32_t threshold = ThresholdOf(record.scope, n0, floors().allow_two_of_three);
  if (!record.scope.members.empty() && n0 < threshold) {
    return absl::InvalidArgumentError(absl::StrCat("U0: ", n0, " sites of a group of ",
                                                   record.scope.members.size(),
                                                   ": must be >= t = ", threshold));
  }
  if (record.scope.corrupt_max > 0 && record.scope.members.empty() &&
      !Withstands(n0, threshold, record.scope.corrupt_max)) {
    return absl::PermissionDeniedError(absl::StrCat("U0: ", n0, " sites (t = ", threshold,
                                                    ") do not withstand ", record.scope.corrupt_max,
                                                    " corrupt ones"));
  }
  const uint32_t least = EffectiveCohortMin(floors());
  if (n0 < least || (n0 < 3 && !floors().allow_two_sites)) {
    return absl::PermissionDeniedError(
        absl::StrCat("U0: ", n0, " sites: this site's floor is ", n0 < least ? least : 3));
  }
  std::set<PublicKey> keys;
  SiteId last;
  bool own = false;
  for (const PreKeyRecord& record : u0.records) {
    if (record.id <= last) {
      return absl::InvalidArgumentError(
          absl::StrCat("U0: ", Name(record.id), " stands twice or out of order"));
    }
    last = record.id;
    if (const auto& group = this->record.scope.members;
        !group.empty() && !Contains(group, record.id)) {
      return absl::InvalidArgumentError(
          absl::StrCat("U0: ", Name(record.id), " is not of this site's group"));
    }
    ATOLL_RETURN_IF_ERROR(Verify(record.id, kPreKeysLabel, PreKeyBody(record), record.signature));
    if (!keys.insert(record.enc_key).second || !keys.insert(record.mask_key).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("U0: ", Name(record.id), " shows a key that stands there already"));
    }
    if (record.id != this->record.id) continue;
    own = true;
    if (Encode(record) != Encode(this->record.pre_keys)) {
      return absl::InvalidArgumentError("U0: this site's own record is not the one it sent");
    }
  }
  if (!own) return absl::InvalidArgumentError("U0: this site is not in it");
  return absl::OkStatus();
}

absl::StatusOr<ShareBundle> SiteSlot::DealShares(const PreKeySet& u0) {
  ATOLL_RETURN_IF_ERROR(impl_->Require(SlotState::kFresh, "deal shares"));
  const SiteRecord& now = impl_->record;
  if (now.bundle) {
    if (HashOf(u0) != HashOf(now.u0)) return impl_->Differs("U0");
    return *now.bundle;
  }
  ATOLL_RETURN_IF_ERROR(impl_->CheckPreKeySet(u0));

  SiteRecord next = now;
  next.u0 = u0;
  const auto n0 = static_cast<uint32_t>(u0.records.size());
  next.threshold = ThresholdOf(now.scope, n0, impl_->floors().allow_two_of_three);
  const Digest pre_keys = HashOf(u0);
  SecretRandom& random = *impl_->identity->random;
  ATOLL_ASSIGN_OR_RETURN(const std::vector<Secret32> mask_shares,
                         SplitSecret(*now.mask_secret, next.threshold, n0, random));
  ATOLL_ASSIGN_OR_RETURN(const std::vector<Secret32> b_shares,
                         SplitSecret(*now.b, next.threshold, n0, random));
  ShareBundle bundle;
  bundle.dealer = now.id;
  next.held.resize(n0);
  for (uint32_t rank = 0; rank < n0; ++rank) {
    const PreKeyRecord& holder = u0.records[rank];
    const HeldShares shares{mask_shares[rank], b_shares[rank]};
    bundle.mask_share_hashes.push_back(
        ShareHash(now.session, ShareKind::kMaskKey, now.id, holder.id, shares.mask_key));
    bundle.b_share_hashes.push_back(
        ShareHash(now.session, ShareKind::kSelf, now.id, holder.id, shares.b));
    if (holder.id == now.id) {
      next.held[rank] = shares;
      bundle.envelopes.emplace_back();
      continue;
    }
    auto agreed = impl_->suite().Agree(*now.enc_secret, holder.enc_key);
    if (!agreed.ok()) {
      return Annotate(agreed.status(), absl::StrCat("U0: enc_pk of ", Name(holder.id)));
    }
    const Secret32 key =
        EnvelopeKey(impl_->suite(), now.session.aead, *agreed, pre_keys, now.id, holder.id);
    const Bytes binding = EnvelopeBinding(now.session, now.id, holder.id, next.threshold, pre_keys);
    bundle.envelopes.push_back(SealShares(impl_->suite(), now.session.aead, key, binding, shares));
  }
  bundle.signature =
      impl_->Sign(kSharesLabel, SharesBody(now.id, next.threshold, pre_keys,
                                           bundle.mask_share_hashes, bundle.b_share_hashes));
  next.bundle = std::move(bundle);
  next.state = SlotState::kShared;
  ATOLL_RETURN_IF_ERROR(impl_->Advance(std::move(next)));
  return *impl_->record.bundle;
}

namespace {

// The dealer's shares for this site; an error when the dealer did not deal properly.
absl::StatusOr<HeldShares> OpenItem(const SiteRecord& record, const CryptoSuite& suite,
                                    const Roster& roster, const ShareDelivery::Item& item,
                                    int own_rank, const PreKeyRecord& dealer,
                                    const Digest& pre_keys) {
  const size_t n0 = record.u0.records.size();
  if (item.mask_share_hashes.size() != n0 || item.b_share_hashes.size() != n0) {
    return absl::InvalidArgumentError("another number of share hashes than sites");
  }
  ATOLL_RETURN_IF_ERROR(VerifySite(suite, roster, record.session, item.dealer, kSharesLabel,
                                   SharesBody(item.dealer, record.threshold, pre_keys,
                                              item.mask_share_hashes, item.b_share_hashes),
                                   item.signature));
  ATOLL_ASSIGN_OR_RETURN(const Secret32 agreed, suite.Agree(*record.enc_secret, dealer.enc_key));
  const Secret32 key =
      EnvelopeKey(suite, record.session.aead, agreed, pre_keys, item.dealer, record.id);
  const Bytes binding =
      EnvelopeBinding(record.session, item.dealer, record.id, record.threshold, pre_keys);
  ATOLL_ASSIGN_OR_RETURN(Bytes plaintext,
                         suite.OpenOnce(record.session.aead, key, binding, item.envelope));
  if (plaintext.size() != 64) {
    Wipe(plaintext);
    return absl::InvalidArgumentError("an envelope of another size than two shares");
  }
  const ByteView view(plaintext);
  const HeldShares shares{Secret32(view.first<32>()), Secret32(view.last<32>())};
  Wipe(plaintext);
  if (ShareHash(record.session, ShareKind::kMaskKey, item.dealer, record.id, shares.mask_key) !=
          item.mask_share_hashes[own_rank] ||
      ShareHash(record.session, ShareKind::kSelf, item.dealer, record.id, shares.b) !=
          item.b_share_hashes[own_rank]) {
    return absl::InvalidArgumentError("a share that is not the hashed one");
  }
  return shares;
}

}  // namespace

absl::StatusOr<ShareReceipt> SiteSlot::TakeShares(const ShareDelivery& delivery) {
  ATOLL_RETURN_IF_ERROR(impl_->Require(SlotState::kShared, "take shares"));
  const SiteRecord& now = impl_->record;
  const Digest question = Sha256::Of(Encode(delivery));
  if (now.receipt) {
    if (question != *now.delivery) return impl_->Differs("share delivery");
    return *now.receipt;
  }
  const std::vector<SiteId> u0 = IdsOf(now.u0);
  std::vector<SiteId> dealers;
  for (const ShareDelivery::Item& item : delivery.items) dealers.push_back(item.dealer);
  if (!IsSortedSet(dealers)) {
    return absl::InvalidArgumentError("share delivery: a dealer stands twice or out of order");
  }
  for (SiteId dealer : dealers) {
    if (dealer == now.id || !Contains(u0, dealer)) {
      return absl::InvalidArgumentError(
          absl::StrCat("share delivery: dealer ", Name(dealer), " is not another member of U0"));
    }
  }

  SiteRecord next = now;
  const Digest pre_keys = HashOf(now.u0);
  const int own_rank = RankOf(u0, now.id);
  for (const ShareDelivery::Item& item : delivery.items) {
    const int rank = RankOf(u0, item.dealer);
    auto shares = OpenItem(now, impl_->suite(), impl_->identity->roster, item, own_rank,
                           now.u0.records[rank], pre_keys);
    if (shares.ok()) next.held[rank] = *shares;
  }
  ShareReceipt receipt;
  receipt.holder = now.id;
  for (size_t rank = 0; rank < u0.size(); ++rank) {
    if (!next.held[rank]) receipt.complaints.push_back(u0[rank]);
  }
  receipt.signature = impl_->Sign(kReceiptLabel, ReceiptBody(now.id, pre_keys, receipt.complaints));
  next.delivery = question;
  next.receipt = std::move(receipt);
  next.enc_secret.reset();
  ATOLL_RETURN_IF_ERROR(impl_->Advance(std::move(next)));
  return *impl_->record.receipt;
}

}  // namespace atl::secagg

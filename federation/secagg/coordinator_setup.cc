// E1 and E2 at the coordinator: who has keys, and whose shares reached whom.
#include "federation/secagg/coordinator_impl.h"
#include "federation/secagg/fields.h"
#include "federation/secagg/group_bound.h"

namespace atl::secagg {
namespace {

// X25519 with any clamped scalar gives zero exactly for the points of low order; the suite refuses
// those and encodings that are not canonical. A site that dealt to such a key would fail, and with
// it the whole slot.
absl::Status CheckAgreementKey(const CryptoSuite& suite, const PublicKey& key,
                               std::string_view what, SiteId id) {
  Secret32 any;
  any.span()[0] = 8;
  const auto agreed = suite.Agree(any, key);
  if (agreed.ok()) return absl::OkStatus();
  return Annotate(agreed.status(), absl::StrCat("pre-keys: ", std::string(what), " of ", Name(id)));
}

}  // namespace

absl::Status CoordinatorSlot::AddPreKeys(const PreKeyRecord& record) {
  Impl& s = *impl_;
  ATOLL_RETURN_IF_ERROR(s.Require(Impl::Phase::kPreKeys, "pre-keys"));
  if (!s.scope.members.empty()) {
    ATOLL_RETURN_IF_ERROR(RequireMember("pre-keys", s.scope.members, record.id, "the group"));
  }
  ATOLL_RETURN_IF_ERROR(s.Verify(record.id, kPreKeysLabel, PreKeyBody(record), record.signature));
  for (const auto& [id, other] : s.records) {
    if (id == record.id) return Keep(s.records, id, record, "pre-keys");
    for (const PublicKey& key : {record.enc_key, record.mask_key}) {
      if (key == other.enc_key || key == other.mask_key) {
        return absl::InvalidArgumentError(
            absl::StrCat("pre-keys: ", Name(record.id), " shows a key of ", Name(id)));
      }
    }
  }
  if (record.enc_key == record.mask_key) {
    return absl::InvalidArgumentError(
        absl::StrCat("pre-keys: ", Name(record.id), " shows one key twice"));
  }
  ATOLL_RETURN_IF_ERROR(CheckAgreementKey(*s.suite, record.enc_key, "enc_pk", record.id));
  ATOLL_RETURN_IF_ERROR(CheckAgreementKey(*s.suite, record.mask_key, "mask_pk", record.id));
  if (s.records.size() == kMaxSites) {
    return absl::ResourceExhaustedError(
        absl::StrCat("pre-keys: a slot holds at most ", kMaxSites, " sites"));
  }
  return Keep(s.records, record.id, record, "pre-keys");
}

absl::StatusOr<PreKeySet> CoordinatorSlot::ClosePreKeys(uint32_t cohort_min) {
  Impl& s = *impl_;
  if (s.phase > Impl::Phase::kPreKeys) return s.pre_keys;
  const uint32_t least = std::max<uint32_t>({cohort_min, s.threshold, 2});
  if (s.records.size() < least) {
    return absl::FailedPreconditionError(
        absl::StrCat("pre-keys: ", s.records.size(), " sites answered, ", least, " are needed"));
  }
  const auto n0 = static_cast<uint32_t>(s.records.size());
  const uint32_t threshold = ThresholdOf(s.scope, n0, s.two_of_three);
  if (s.scope.members.empty() && s.scope.corrupt_max > 0 &&
      !Withstands(n0, threshold, s.scope.corrupt_max)) {
    return absl::FailedPreconditionError(absl::StrCat("pre-keys: ", n0, " sites (t = ", threshold,
                                                      ") do not withstand the stated ",
                                                      s.scope.corrupt_max, " corrupt ones"));
  }
  for (const auto& [id, record] : s.records) {
    s.pre_keys.records.push_back(record);
    s.u0.push_back(id);
  }
  s.pre_keys_hash = HashOf(s.pre_keys);
  s.threshold = threshold;
  s.phase = Impl::Phase::kShares;
  return s.pre_keys;
}

absl::Status CoordinatorSlot::AddShares(const ShareBundle& bundle) {
  Impl& s = *impl_;
  ATOLL_RETURN_IF_ERROR(s.Require(Impl::Phase::kShares, "shares"));
  ATOLL_RETURN_IF_ERROR(RequireMember("shares", s.u0, bundle.dealer, "U0"));
  const size_t n0 = s.u0.size();
  if (bundle.mask_share_hashes.size() != n0 || bundle.b_share_hashes.size() != n0 ||
      bundle.envelopes.size() != n0) {
    return absl::InvalidArgumentError(absl::StrCat("shares: ", Name(bundle.dealer), " dealt ",
                                                   bundle.envelopes.size(), " shares, U0 has ", n0,
                                                   " sites"));
  }
  for (size_t rank = 0; rank < n0; ++rank) {
    const size_t expected = s.u0[rank] == bundle.dealer ? 0 : kEnvelopeBytes;
    if (bundle.envelopes[rank].size() != expected) {
      return absl::InvalidArgumentError(
          absl::StrCat("shares: the envelope from ", Name(bundle.dealer), " to ", Name(s.u0[rank]),
                       " has ", bundle.envelopes[rank].size(), " bytes, must have ", expected));
    }
  }
  ATOLL_RETURN_IF_ERROR(s.Verify(bundle.dealer, kSharesLabel,
                                 SharesBody(bundle.dealer, s.threshold, s.pre_keys_hash,
                                            bundle.mask_share_hashes, bundle.b_share_hashes),
                                 bundle.signature));
  if (!s.receipts.empty() && !s.bundles.contains(bundle.dealer)) {
    return absl::FailedPreconditionError(
        absl::StrCat("shares: ", Name(bundle.dealer), " dealt after the first receipt"));
  }
  return Keep(s.bundles, bundle.dealer, bundle, "shares");
}

absl::StatusOr<ShareDelivery> CoordinatorSlot::DeliveryFor(SiteId holder) const {
  const Impl& s = *impl_;
  ATOLL_RETURN_IF_ERROR(s.Require(Impl::Phase::kShares, "share delivery"));
  ATOLL_RETURN_IF_ERROR(RequireMember("share delivery", s.u0, holder, "U0"));
  const int rank = RankOf(s.u0, holder);
  ShareDelivery delivery;
  for (const auto& [dealer, bundle] : s.bundles) {
    if (dealer == holder) continue;
    delivery.items.push_back({dealer, bundle.mask_share_hashes, bundle.b_share_hashes,
                              bundle.signature, bundle.envelopes[rank]});
  }
  return delivery;
}

absl::Status CoordinatorSlot::AddReceipt(const ShareReceipt& receipt) {
  Impl& s = *impl_;
  ATOLL_RETURN_IF_ERROR(s.Require(Impl::Phase::kShares, "receipt"));
  ATOLL_RETURN_IF_ERROR(RequireMember("receipt", s.u0, receipt.holder, "U0"));
  if (!IsSortedSet(receipt.complaints)) {
    return absl::InvalidArgumentError("receipt: complaints stand twice or out of order");
  }
  for (SiteId accused : receipt.complaints) {
    ATOLL_RETURN_IF_ERROR(RequireMember("receipt", s.u0, accused, "U0"));
    if (accused == receipt.holder) {
      return absl::InvalidArgumentError(
          absl::StrCat("receipt: ", Name(accused), " complains about itself"));
    }
  }
  ATOLL_RETURN_IF_ERROR(s.Verify(receipt.holder, kReceiptLabel,
                                 ReceiptBody(receipt.holder, s.pre_keys_hash, receipt.complaints),
                                 receipt.signature));
  return Keep(s.receipts, receipt.holder, receipt, "receipt");
}

absl::StatusOr<std::vector<SiteId>> CoordinatorSlot::CloseShares(uint32_t cohort_min) {
  Impl& s = *impl_;
  if (s.phase > Impl::Phase::kShares) return s.u1;
  ATOLL_RETURN_IF_ERROR(s.Require(Impl::Phase::kShares, "U1"));
  std::set<SiteId> members;
  for (SiteId id : s.u0) {
    if (s.bundles.contains(id) && s.receipts.contains(id)) members.insert(id);
  }
  while (true) {
    // For each member: complaints it stands in, and how many of them accuse it.
    std::map<SiteId, std::pair<int, int>> involved;
    for (SiteId holder : members) {
      for (SiteId accused : s.receipts.at(holder).complaints) {
        if (!members.contains(accused)) continue;
        ++involved[holder].first;
        ++involved[accused].first;
        ++involved[accused].second;
      }
    }
    if (involved.empty()) break;
    auto worst = involved.begin();
    for (auto it = involved.begin(); it != involved.end(); ++it) {
      if (it->second > worst->second) worst = it;
    }
    members.erase(worst->first);
  }
  ATOLL_RETURN_IF_ERROR(s.Enough("U1", members.size(), cohort_min));
  s.u1.assign(members.begin(), members.end());
  s.phase = Impl::Phase::kManifest;
  return s.u1;
}

}  // namespace atl::secagg

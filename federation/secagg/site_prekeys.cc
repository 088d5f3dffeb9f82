// E1: a slot's fresh keys.
#include "federation/secagg/mask_keys.h"
#include "federation/secagg/site_impl.h"

namespace atl::secagg {

absl::StatusOr<SiteSlot> SiteSlot::Create(const SiteIdentity& identity, const Session& session,
                                          SlotJournal& journal, SlotScope scope) {
  ATOLL_RETURN_IF_ERROR(CheckSlotIdentity(identity, session));
  auto impl = std::make_unique<Impl>();
  impl->identity = &identity;
  impl->journal = &journal;
  SiteRecord& record = impl->record;
  record.session = session;
  record.scope = std::move(scope);
  record.id = identity.id;
  const KeyPair enc = identity.suite->AgreementKeyPair(identity.random->Draw32());
  const KeyPair mask = identity.suite->AgreementKeyPair(identity.random->Draw32());
  record.enc_secret = enc.secret;
  record.mask_secret = mask.secret;
  record.b = identity.random->Draw32();

  PreKeyRecord& pre_keys = record.pre_keys;
  pre_keys.id = identity.id;
  pre_keys.enc_key = enc.public_key;
  pre_keys.mask_key = mask.public_key;
  pre_keys.b_commit = SelfCommitment(session, identity.id, *record.b);
  pre_keys.signature = impl->Sign(kPreKeysLabel, PreKeyBody(pre_keys));
  return SiteSlot(std::move(impl));
}

absl::StatusOr<PreKeyRecord> SiteSlot::PreKeys() {
  ATOLL_RETURN_IF_ERROR(impl_->Require(SlotState::kFresh, "pre-keys"));
  if (!impl_->saved) ATOLL_RETURN_IF_ERROR(impl_->Advance(impl_->record));
  return impl_->record.pre_keys;
}

}  // namespace atl::secagg

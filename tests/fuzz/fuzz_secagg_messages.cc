// Every message of secure aggregation: what decodes is written again as the very same bytes, so no
// two encodings mean one thing and no signature covers two.
#include "federation/secagg/group_messages.h"
#include "federation/secagg/messages.h"
#include "tests/fuzz/fuzz.h"
#include "tests/secagg/harness.h"

namespace atl {
namespace {

template <typename M>
bool TryMessage(ByteView bytes) {
  const auto message = secagg::Decode<M>(bytes);
  if (!message.ok()) {
    fuzz::Check(!message.status().message().empty(), "a refusal without a reason");
    return false;
  }
  const Bytes again = secagg::Encode(*message);
  fuzz::Check(std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()),
              "a second encoding of one message");
  return true;
}

template <typename... M>
int TryAll(ByteView bytes) {
  return (0 + ... + (TryMessage<M>(bytes) ? 1 : 0));
}

}  // namespace

std::vector<Bytes> fuzz::Seeds() {
  secagg::FederationOptions options{.sites = 4, .seed = 5};
  secagg::Federation federation(options);
  federation.site(18).drops_at = secagg::Step::kUpload;
  Check(federation.RunUntil(secagg::Step::kReceipt).ok(), "the seeds' round, E1 to E2");
  secagg::SiteSlot& slot = *federation.site(3).slot;
  const Bytes delivery = Encode(*federation.coordinator->DeliveryFor(SiteId(3)));
  Check(federation.Receipts().ok() && federation.ReadyAll().ok() && federation.Commits().ok() &&
            federation.Survivors().ok() && federation.Answers().ok(),
        "the seeds' round");
  secagg::Result result;
  result.round = RoundId(4);
  result.sites = 3;
  result.survivors = federation.u3;
  result.signatures = federation.request.signatures;
  result.secrets = *federation.coordinator->RevealSecrets();
  result.group_sums = {Digest{}};
  return {Encode(secagg::GroupOpen{1}),
          Encode(secagg::GroupCommit{1, SiteId(3), {}}),
          Encode(secagg::GroupCommitSet{1, {{SiteId(3), {}}, {SiteId(8), {}}}}),
          Encode(secagg::GroupSignature{1, SiteId(3), {}}),
          Encode(secagg::GroupSignatureSet{1, {{SiteId(3), {}}, {SiteId(8), {}}}}),
          Encode(secagg::GroupReveal{1, SiteId(3), {}}),
          Encode(secagg::GroupRevealSet{1, {{SiteId(3), {}}, {SiteId(8), {}}}}),
          Encode(*slot.PreKeys()),
          Encode(federation.u0),
          Encode(*slot.DealShares(federation.u0)),
          delivery,
          Encode(*slot.TakeShares(*secagg::Decode<secagg::ShareDelivery>(delivery))),
          Encode(federation.manifest),
          Encode(federation.u2.members[0]),
          Encode(federation.u2),
          Encode(federation.u3.members[0]),
          Encode(federation.u3),
          Encode(federation.request.signatures[0]),
          Encode(federation.request),
          Encode(*slot.Unmask(federation.request)),
          Encode(result)};
}

}  // namespace atl

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atl::secagg;  // NOLINT
  const int readings =
      atl::TryAll<PreKeyRecord, PreKeySet, ShareBundle, ShareDelivery, ShareReceipt, Manifest,
                  Ready, CohortSet, Commit, SurvivorSet, SurvivorSignature, UnmaskRequest,
                  UnmaskAnswer, Result, GroupOpen, GroupCommit, GroupCommitSet, GroupSignature,
                  GroupSignatureSet, GroupReveal, GroupRevealSet>({data, size});
  atl::fuzz::Check(readings <= 1, "one encoding of two messages");
  return 0;
}

// What is read back from disk: the coordinator's events, with a site's protobuf message in them,
// and a site's slot records. The first byte of an input says which. Of a record its digest is made
// good, or nothing but the digest would be tested.
#include "comms/base/crypto/sha256.h"
#include "federation/coordinator/events.h"
#include "federation/secagg/site_record.h"
#include "tests/fuzz/fuzz.h"
#include "tests/secagg/harness.h"

namespace atl {
namespace {

enum : uint8_t { kEvent = 0, kRecord = 1 };

void TryEvent(ByteView bytes) {
  const auto timed = coordinator::DecodeEvent(bytes);
  if (!timed.ok()) return;
  // Protobuf has several encodings of one message: what is written is stable from then on.
  const Bytes again = coordinator::EncodeEvent(timed->event, timed->at_ms);
  const auto second = coordinator::DecodeEvent(again);
  fuzz::Check(
      second.ok() && coordinator::KindOf(second->event) == coordinator::KindOf(timed->event),
      "an event that does not come back");
  fuzz::Check(coordinator::EncodeEvent(second->event, second->at_ms) == again,
              "an event that changes");
  (void)coordinator::JobOf(timed->event);
}

void TryRecord(ByteView bytes) {
  Bytes whole(bytes.begin(), bytes.end());
  const Digest digest = Sha256::Of(whole);
  whole.insert(whole.end(), digest.begin(), digest.end());
  const auto record = secagg::DecodeRecord(whole);
  if (record.ok()) {
    fuzz::Check(secagg::EncodeRecord(*record) == whole, "a second encoding of one record");
  }
}

}  // namespace

std::vector<Bytes> fuzz::Seeds() {
  std::vector<Bytes> seeds;
  const auto add = [&](uint8_t kind, ByteView bytes) {
    Bytes& seed = seeds.emplace_back();
    seed.push_back(kind);
    seed.insert(seed.end(), bytes.begin(), bytes.end());
  };
  const auto event = [&](const coordinator::Event& e) {
    add(kEvent, coordinator::EncodeEvent(e, 1234));
  };
  using namespace coordinator;  // NOLINT
  event(JobSubmitted{JobId(1), "name: x", {}, 100, {}});
  event(JobPlaced{JobId(1), {SiteId(1), SiteId(2)}});
  event(CancelRequested{JobId(1), "why"});
  event(PeerConnected{SiteId(1), 4, 8});
  event(PeerGone{SiteId(1), "why"});
  v1::SiteMessage message;
  message.mutable_decision()->set_job_id(1);
  event(PeerSaid{SiteId(1), message});
  message.mutable_secagg()->set_step(v1::READY);
  message.mutable_secagg()->set_payload("payload");
  event(PeerSaid{SiteId(1), message});
  event(UploadComplete{{JobId(1), RoundId(1), SlotId(1), SiteId(1)}, 100});
  event(SumDone{JobId(1), RoundId(1), SlotId(1), {}});
  event(SumFailed{JobId(1), RoundId(1), SlotId(1), "why"});
  event(AttemptFailed{JobId(1), RoundId(1), SlotId(1), "why"});
  event(MemberDropped{JobId(1), SiteId(1), "why"});
  event(CohortWaitOver{JobId(1)});
  event(EvaluationGivenUp{JobId(1), "why"});
  event(Restarted{});

  secagg::FederationOptions options{.sites = 4, .seed = 5};
  secagg::Federation federation(options);
  const auto record = [&] {
    const Bytes& whole = *federation.site(3).journal.durable();
    add(kRecord, ByteView(whole).first(whole.size() - 32));
  };
  Check(federation.PreKeys().ok(), "the seeds' round");
  record();
  Check(federation.Shares().ok() && federation.Receipts().ok(), "the seeds' round");
  record();
  Check(federation.ReadyAll().ok() && federation.Commits().ok(), "the seeds' round");
  record();
  Check(federation.Survivors().ok(), "the seeds' round");
  record();
  Check(federation.Answers().ok(), "the seeds' round");
  record();
  return seeds;
}

}  // namespace atl

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const atl::ByteView bytes(data + 1, size - 1);
  data[0] == atl::kEvent ? atl::TryEvent(bytes) : atl::TryRecord(bytes);
  return 0;
}

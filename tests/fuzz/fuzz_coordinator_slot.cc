// The coordinator's side of a slot against sites that say anything. An input is a script: how many
// steps of an honest round are taken first, then messages, each an honest one with some bytes
// changed, perhaps signed again by its sender, and steps that are closed at any time.
//
// Whatever is said: a message that was changed and not signed again is refused, a message that is
// refused changes nothing, U0, U1, U2 and U3 lie in each other
// and are not under t, and the honest round goes on to the exact sum as long as nothing else was
// accepted.
#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>

#include "federation/secagg/signed_bodies.h"
#include "federation/secagg/signing.h"
#include "tests/fuzz/fuzz.h"
#include "tests/secagg/harness.h"

namespace atl {
namespace {

using secagg::CoordinatorSlot;

constexpr uint32_t kCohortMin = 3;
constexpr int kMessagesMax = 16;
constexpr uint8_t kResigned = 0x80;

// How one message, as bytes, is said to the coordinator. False when it does not even decode.
struct Said {
  Bytes bytes;
  bool all_signed = true;
  std::function<std::optional<absl::Status>(CoordinatorSlot&, ByteView, bool resigned)> say;
};

struct World {
  World() : federation(Options()) {
    federation.site(23).drops_at = secagg::Step::kUpload;
    fuzz::Check(federation.PreKeys().ok(), "the round, E1");
    for (auto& [id, site] : federation.sites()) {
      Message(*site->slot->PreKeys(), &CoordinatorSlot::AddPreKeys, secagg::kPreKeysLabel,
              [](const secagg::PreKeyRecord& m) { return secagg::PreKeyBody(m); });
    }
    Close([](CoordinatorSlot& slot) { return slot.ClosePreKeys(kCohortMin).status(); });
    fuzz::Check(federation.Shares().ok(), "the round, E2");
    const Digest pre_keys = secagg::HashOf(federation.u0);
    const uint32_t t = federation.coordinator->threshold();
    for (auto& [id, site] : federation.sites()) {
      Message(*site->slot->DealShares(federation.u0), &CoordinatorSlot::AddShares,
              secagg::kSharesLabel, [=](const secagg::ShareBundle& m) {
                return secagg::SharesBody(m.dealer, t, pre_keys, m.mask_share_hashes,
                                          m.b_share_hashes);
              });
    }
    std::vector<secagg::ShareDelivery> deliveries;
    for (auto& [id, site] : federation.sites()) {
      deliveries.push_back(*federation.coordinator->DeliveryFor(id));
    }
    fuzz::Check(federation.Receipts().ok(), "the round, E2");
    size_t i = 0;
    for (auto& [id, site] : federation.sites()) {
      Message(*site->slot->TakeShares(deliveries[i++]), &CoordinatorSlot::AddReceipt,
              secagg::kReceiptLabel, [=](const secagg::ShareReceipt& m) {
                return secagg::ReceiptBody(m.holder, pre_keys, m.complaints);
              });
    }
    Close([](CoordinatorSlot& slot) { return slot.CloseShares(kCohortMin).status(); });
    Close([this](CoordinatorSlot& slot) {
      return slot.OpenRound(federation.DraftManifest()).status();
    });
    fuzz::Check(federation.ReadyAll().ok(), "the round, R1");
    const Digest manifest = secagg::HashOf(federation.manifest);
    for (const secagg::Ready& ready : federation.u2.members) {
      Message(ready, &CoordinatorSlot::AddReady, secagg::kReadyLabel,
              [=](const secagg::Ready&) { return secagg::ReadyBody(manifest); });
    }
    Close([](CoordinatorSlot& slot) { return slot.CloseReady(kCohortMin).status(); });
    fuzz::Check(federation.Commits().ok(), "the round, R2");
    const Digest ctx = secagg::ContextOf(manifest, secagg::IdsOf(federation.u2));
    for (const secagg::Commit& commit : federation.u3.members) {
      Message(commit, &CoordinatorSlot::AddCommit, secagg::kCommitLabel,
              [=](const secagg::Commit& m) { return secagg::CommitBody(ctx, m.bytes, m.root); });
      Close([id = commit.id](CoordinatorSlot& slot) { return slot.AddUploaded(id); });
    }
    Close([](CoordinatorSlot& slot) { return slot.CloseUploads(kCohortMin).status(); });
    fuzz::Check(federation.Survivors().ok(), "the round, R3");
    const std::vector<SiteId> survivors = secagg::IdsOf(federation.u3);
    for (const secagg::SurvivorSignature& signature : federation.request.signatures) {
      Message(
          signature, &CoordinatorSlot::AddSurvivorSignature, secagg::kSurvivorsLabel,
          [=](const secagg::SurvivorSignature&) { return secagg::SurvivorsBody(ctx, survivors); });
    }
    Close([](CoordinatorSlot& slot) { return slot.CloseSurvivors().status(); });
    for (SiteId id : survivors) {
      Message(*federation.site(id.value()).slot->Unmask(federation.request),
              &CoordinatorSlot::AddAnswer, secagg::kUnmaskLabel,
              [=](const secagg::UnmaskAnswer& m) { return secagg::UnmaskBody(ctx, m.items); });
    }
    CoordinatorSlot slot = Begin(script.size());
    fuzz::Check(slot.CanUnmask(), "the round itself");
    streams = Keys(*slot.StreamsToRemove());
  }
  static secagg::FederationOptions Options() {
    secagg::FederationOptions options{.sites = 5, .seed = 18};
    options.segments = {{2, 12, 15, 1.0}, {9, 6, 9, 1.0}};
    return options;
  }

  static SiteId SenderOf(const secagg::ShareBundle& m) { return m.dealer; }
  static SiteId SenderOf(const secagg::ShareReceipt& m) { return m.holder; }
  template <typename M>
  static SiteId SenderOf(const M& m) {
    return m.id;
  }
  template <typename M, typename Body>
  void Message(const M& honest, absl::Status (CoordinatorSlot::*add)(const M&),
               std::string_view label, Body body) {
    // A bundle's envelopes are for their holders to judge.
    script.push_back({secagg::Encode(honest), !std::is_same_v<M, secagg::ShareBundle>,
                      [=, this](CoordinatorSlot& slot, ByteView bytes,
                                bool resigned) -> std::optional<absl::Status> {
                        auto message = secagg::Decode<M>(bytes);
                        if (!message.ok()) return std::nullopt;
                        const SiteId sender = SenderOf(*message);
                        if (resigned && federation.roster.Find(sender) != nullptr) {
                          message->signature = SignBody(
                              secagg::CheapSuite(), federation.site(sender.value()).identity.seed,
                              federation.session, label, body(*message));
                        }
                        return (slot.*add)(*message);
                      }});
  }
  void Close(std::function<absl::Status(CoordinatorSlot&)> close) {
    script.push_back({{}, true, [=](CoordinatorSlot& slot, ByteView, bool) {
                        return std::optional(close(slot));
                      }});
  }
  // A slot after so many steps of the honest round.
  CoordinatorSlot Begin(size_t steps) {
    CoordinatorSlot slot(federation.session, federation.roster, secagg::CheapSuite());
    for (size_t i = 0; i < steps; ++i) {
      fuzz::Check(script[i].say(slot, script[i].bytes, false)->ok(), "the round itself");
    }
    return slot;
  }
  static Bytes Keys(const std::vector<secagg::MaskStream>& streams) {
    Bytes keys;
    for (const auto& stream : streams) {
      keys.insert(keys.end(), stream.key.span().begin(), stream.key.span().end());
    }
    return keys;
  }

  secagg::Federation federation;
  std::vector<Said> script;
  Bytes streams;  // to remove, of the honest round
};

World& TheWorld() {
  static World world;
  return world;
}

// All that a slot shows of itself.
std::string Seen(const CoordinatorSlot& slot) {
  std::string text;
  const auto add = [&](const auto& ids) {
    absl::StrAppend(&text, "|");
    for (SiteId id : ids) absl::StrAppend(&text, id.value(), " ");
  };
  add(slot.u0());
  add(slot.u1());
  add(slot.u2());
  add(slot.u3());
  add(slot.answered());
  for (int step = 0; step <= static_cast<int>(CoordinatorSlot::Step::kAnswers); ++step) {
    add(slot.answered(static_cast<CoordinatorSlot::Step>(step)));
  }
  absl::StrAppend(&text, slot.CanUnmask(), slot.manifest().has_value());
  return text;
}

void CheckSets(const CoordinatorSlot& slot) {
  const std::vector<SiteId>* sets[] = {&slot.u0(), &slot.u1(), &slot.u2(), &slot.u3()};
  for (int i = 1; i < 4; ++i) {
    if (sets[i]->empty()) continue;
    fuzz::Check(
        std::includes(sets[i - 1]->begin(), sets[i - 1]->end(), sets[i]->begin(), sets[i]->end()),
        "a set that does not lie in the one before it");
    fuzz::Check(sets[i]->size() >= slot.threshold(), "a set under t");
  }
}

}  // namespace

std::vector<Bytes> fuzz::Seeds() {
  std::vector<Bytes> seeds;
  const auto steps = static_cast<uint8_t>(TheWorld().script.size());
  seeds.push_back({0});
  seeds.push_back({steps});
  // Before each step: its message changed, changed and signed again, the one after it, its own.
  for (uint8_t i = 0; i < steps; i = static_cast<uint8_t>(i + 3)) {
    const auto next = static_cast<uint8_t>(i + 1);
    seeds.push_back({i, i, 1, 7, 0, 1, i, 1 | kResigned, 9, 0, 2, next, 0, i, 0});
  }
  return seeds;
}

}  // namespace atl

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atl;  // NOLINT
  World& world = TheWorld();
  fuzz::Script script({data, size});
  size_t at = script.U8() % (world.script.size() + 1);
  CoordinatorSlot slot = world.Begin(at);
  bool honest = true;
  for (int i = 0; i < kMessagesMax && !script.done(); ++i) {
    const size_t which = script.U8() % world.script.size();
    const uint8_t how = script.U8();
    const Said& said = world.script[which];
    Bytes bytes = said.bytes;
    for (int edits = how & 7; edits > 0; --edits) script.Edit(bytes);
    const std::string before = Seen(slot);
    const auto status = said.say(slot, bytes, (how & kResigned) != 0);
    const bool resigned = (how & kResigned) != 0;
    if (status && status->ok()) {
      fuzz::Check(resigned || !said.all_signed || bytes == said.bytes,
                  "a changed message was accepted");
      if (which == at && bytes == said.bytes) {
        ++at;
      } else {
        honest = honest && Seen(slot) == before;
      }
    } else if (!said.bytes.empty()) {
      fuzz::Check(Seen(slot) == before, "a message was refused and yet changed something");
    }
    CheckSets(slot);
  }
  // The rest of the round, as if nothing had been said.
  for (; at < world.script.size(); ++at) {
    const auto status = world.script[at].say(slot, world.script[at].bytes, false);
    fuzz::Check(!honest || status->ok(), "an honest message was refused");
  }
  const auto streams = slot.StreamsToRemove();
  if (honest) {
    fuzz::Check(streams.ok() && World::Keys(*streams) == world.streams, "other masks to remove");
  }
  return 0;
}

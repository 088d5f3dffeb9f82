// A site's slot against a coordinator that says anything, with all other sites on its side. An
// input is a script: the state to begin in, then questions, each an honest one with some bytes
// changed, perhaps signed again by the others, and restarts from the journal in between.
//
// Whatever is said: a step is taken at most once, no answer holds both shares of a site or the
// share of a site outside U2, nothing but R4's answer holds a secret, and a state is never gone
// back from.
#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "federation/secagg/signed_bodies.h"
#include "federation/secagg/signing.h"
#include "federation/secagg/site_record.h"
#include "tests/fuzz/fuzz.h"
#include "tests/secagg/harness.h"

namespace atl {
namespace {

using secagg::SiteRecord;
using secagg::SlotState;

constexpr uint32_t kSelf = 3;
constexpr int kQuestionsMax = 24;

enum Question : uint8_t {
  kPreKeys,
  kU0,
  kDelivery,
  kCheckManifest,
  kManifest,
  kU2,
  kCommit,
  kU3,
  kUnmask,
  kRestart,
  kErase,
  kBurn,
  kQuestions
};
constexpr uint8_t kResigned = 0x80;  // by the other sites
constexpr uint8_t kEditShift = 4;    // how many bytes are changed: 0 to 6
constexpr int kDrop = 7;             // in the place of that: one of the message's list is left out

// An honest round of seven sites (t = 5), one of which drops before its upload; all of it kept.
struct World {
  World() : federation(Options()) {
    secagg::TestSite& self = federation.site(kSelf);
    federation.site(33).drops_at = secagg::Step::kUpload;
    const auto keep = [&] { records.push_back(*self.journal.durable()); };
    fuzz::Check(federation.PreKeys().ok(), "the round, E1");
    keep();
    fuzz::Check(federation.Shares().ok(), "the round, E2");
    keep();
    delivery = *federation.coordinator->DeliveryFor(SiteId(kSelf));
    fuzz::Check(federation.Receipts().ok(), "the round, E2");
    keep();
    fuzz::Check(federation.ReadyAll().ok(), "the round, R1");
    keep();
    fuzz::Check(federation.Commits().ok(), "the round, R2");
    keep();
    fuzz::Check(federation.Survivors().ok(), "the round, R3");
    keep();
    fuzz::Check(federation.Answers().ok(), "the round, R4");
    keep();
  }
  static secagg::FederationOptions Options() {
    secagg::FederationOptions options{.sites = 7, .seed = 17};
    options.segments = {{2, 12, 15, 1.0}, {9, 6, 9, 1.0}};
    return options;
  }
  Signature Sign(SiteId id, std::string_view label, ByteView body) {
    return SignBody(secagg::CheapSuite(), federation.site(id.value()).identity.seed,
                    federation.session, label, body);
  }
  bool IsPeer(SiteId id) const {
    return id != SiteId(kSelf) && federation.roster.Find(id) != nullptr;
  }

  secagg::Federation federation;
  secagg::ShareDelivery delivery;
  std::vector<Bytes> records;  // of the site under test, one for each state
};

World& TheWorld() {
  static World world;
  return world;
}

auto& ListOf(secagg::PreKeySet& m) { return m.records; }
auto& ListOf(secagg::ShareDelivery& m) { return m.items; }
auto& ListOf(secagg::Manifest& m) { return m.members; }
auto& ListOf(secagg::CohortSet& m) { return m.members; }
auto& ListOf(secagg::SurvivorSet& m) { return m.members; }
auto& ListOf(secagg::UnmaskRequest& m) { return m.signatures; }

// The slot under test, and what it has given so far.
class Run {
 public:
  explicit Run(const Bytes& record) {
    (void)journal_.Save(SlotId(7), SlotState::kFresh, record);
    Restart();
  }

  void Ask(uint8_t code, fuzz::Script& script) {
    World& world = TheWorld();
    resigned_ = (code & kResigned) != 0;
    const int edits = (code >> kEditShift) & 7;
    const auto changed = [&]<typename M>(const M& honest) -> absl::StatusOr<M> {
      if (edits == kDrop) {
        M fewer = honest;
        auto& list = ListOf(fewer);
        list.erase(list.begin() + script.U8() % static_cast<int>(list.size()));
        return fewer;
      }
      Bytes bytes = secagg::Encode(honest);
      for (int i = 0; i < edits; ++i) script.Edit(bytes);
      return secagg::Decode<M>(bytes);
    };
    const SlotState before = slot_->state();
    switch (static_cast<Question>((code & 15) % kQuestions)) {
      case kPreKeys:
        Once("E1", slot_->PreKeys());
        break;
      case kU0:
        if (auto u0 = changed(world.federation.u0); u0.ok()) {
          if (resigned_) {
            for (auto& r : u0->records) Resign(r, secagg::kPreKeysLabel, secagg::PreKeyBody(r));
          }
          Once("E2", slot_->DealShares(*u0));
        }
        break;
      case kDelivery:
        if (const auto d = changed(world.delivery); d.ok()) Once("receipt", slot_->TakeShares(*d));
        break;
      case kCheckManifest:
        if (const auto m = changed(world.federation.manifest); m.ok()) {
          (void)slot_->CheckManifest(*m, world.federation.expected);
        }
        break;
      case kManifest:
        if (const auto m = changed(world.federation.manifest); m.ok()) {
          Once("R1", slot_->SignReady(*m, world.federation.expected));
        }
        break;
      case kU2:
        if (auto u2 = changed(world.federation.u2); u2.ok()) AskU2(*std::move(u2));
        break;
      case kCommit: {
        Digest root = world.federation.u3.members[0].root;
        if (edits > 0) root[0] ^= script.U8();
        Once("R2", slot_->SignCommit(world.federation.layout().packed_bytes(), root));
        break;
      }
      case kU3:
        if (auto u3 = changed(world.federation.u3); u3.ok()) AskU3(*std::move(u3));
        break;
      case kUnmask:
        if (auto request = changed(world.federation.request); request.ok()) {
          AskUnmask(*std::move(request));
        }
        break;
      case kRestart:
        Restart();
        break;
      case kErase:
        (void)slot_->Erase();
        break;
      case kBurn:
        (void)slot_->Burn();
        break;
      case kQuestions:
        break;
    }
    fuzz::Check(slot_->state() >= before, "a state was gone back from");
  }

 private:
  SiteRecord Record() const { return *secagg::DecodeRecord(*journal_.durable()); }

  void Restart() {
    slot_.reset();
    auto slot = secagg::SiteSlot::Restore(TheWorld().federation.site(kSelf).identity,
                                          *journal_.durable(), journal_);
    fuzz::Check(slot.ok(), "a slot that does not come back from its own record");
    slot_.emplace(*std::move(slot));
  }

  template <typename Statement>
  void Resign(Statement& statement, std::string_view label, ByteView body) {
    if (TheWorld().IsPeer(statement.id)) {
      statement.signature = TheWorld().Sign(statement.id, label, body);
    }
  }

  // An answer: what was on disk before it, the only one to its step, and without a secret.
  template <typename M>
  void Once(const char* step, const absl::StatusOr<M>& answer) {
    if (!answer.ok()) return;
    const Bytes bytes = secagg::Encode(*answer);
    const auto [first, is_new] = given_.emplace(step, bytes);
    fuzz::Check(is_new || first->second == bytes, "two answers to one step");
    const SiteRecord record = Record();
    const auto holds = [&](const Secret32& secret) {
      return std::search(bytes.begin(), bytes.end(), secret.span().begin(), secret.span().end()) !=
             bytes.end();
    };
    for (const auto* secret : {&record.enc_secret, &record.mask_secret, &record.b}) {
      fuzz::Check(!*secret || !holds(**secret), "an answer with a secret key in it");
    }
    for (const auto& held : record.held) {
      fuzz::Check(!held || !(holds(held->mask_key) || holds(held->b)),
                  "an answer with a share in it");
    }
  }

  void AskU2(secagg::CohortSet u2) {
    const SiteRecord record = Record();
    if (resigned_ && record.manifest) {
      const Bytes body = secagg::ReadyBody(secagg::HashOf(*record.manifest));
      for (auto& member : u2.members) Resign(member, secagg::kReadyLabel, body);
    }
    const auto streams = slot_->EnterContext(u2);
    if (!streams.ok()) return;
    Bytes keys;
    for (const auto& stream : *streams) {
      keys.insert(keys.end(), stream.key.span().begin(), stream.key.span().end());
    }
    const auto [first, is_new] = given_.emplace("U2", keys);
    fuzz::Check(is_new || first->second == keys, "masks under two contexts");
    fuzz::Check(u2.members.size() >= record.threshold, "a cohort under t");
  }

  Digest Context(const SiteRecord& record) const {
    return secagg::ContextOf(secagg::HashOf(*record.manifest), record.cohort);
  }

  void AskU3(secagg::SurvivorSet u3) {
    const SiteRecord record = Record();
    if (resigned_ && record.manifest) {
      for (auto& member : u3.members) {
        Resign(member, secagg::kCommitLabel,
               secagg::CommitBody(Context(record), member.bytes, member.root));
      }
    }
    const auto signature = slot_->SignSurvivors(u3);
    Once("R3", signature);
    if (signature.ok()) {
      fuzz::Check(u3.members.size() >= record.threshold, "survivors under t");
    }
  }

  void AskUnmask(secagg::UnmaskRequest request) {
    const SiteRecord record = Record();
    if (resigned_ && record.manifest) {
      const Bytes body = secagg::SurvivorsBody(Context(record), record.survivors);
      for (auto& signature : request.signatures) Resign(signature, secagg::kSurvivorsLabel, body);
    }
    const auto answer = slot_->Unmask(request);
    if (!answer.ok()) return;
    const Bytes bytes = secagg::Encode(*answer);
    const auto [first, is_new] = given_.emplace("R4", bytes);
    fuzz::Check(is_new || first->second == bytes, "two answers to R4");
    fuzz::Check(request.signatures.size() >= record.threshold, "R4 for fewer than t");
    std::set<SiteId> owners;
    for (const auto& item : answer->items) {
      fuzz::Check(owners.insert(item.owner).second, "two shares of one site");
      fuzz::Check(secagg::Contains(record.cohort, item.owner), "a share of a site outside U2");
      fuzz::Check(
          (item.kind == secagg::ShareKind::kSelf) == secagg::Contains(record.survivors, item.owner),
          "the wrong one of a site's two shares");
    }
  }

  secagg::MemoryJournal journal_;
  std::optional<secagg::SiteSlot> slot_;
  bool resigned_ = false;
  std::map<std::string, Bytes> given_;
};

}  // namespace

std::vector<Bytes> fuzz::Seeds() {
  std::vector<Bytes> seeds;
  // The honest round from each state on; with a restart after each step; signed again.
  for (uint8_t state = 0; state < 7; ++state) {
    seeds.push_back({state, kU0, kDelivery, kManifest, kU2, kCommit, kU3, kUnmask});
  }
  seeds.push_back({0, kPreKeys, kRestart, kU0, kRestart, kDelivery, kRestart, kManifest, kRestart,
                   kU2, kRestart, kCommit, kRestart, kU3, kRestart, kUnmask, kRestart, kErase});
  seeds.push_back({0, kU0, kU0, kDelivery, kDelivery, kManifest, kManifest, kU2, kU2, kCommit,
                   kCommit, kU3, kU3, kUnmask, kUnmask, kErase, kUnmask});
  seeds.push_back({0, kU0 | kResigned, kDelivery, kCheckManifest, kManifest, kU2 | kResigned,
                   kCommit, kU3 | kResigned, kUnmask | kResigned, kBurn});
  // One byte of each question changed, then the honest one.
  for (uint8_t question : {kU0, kDelivery, kManifest, kU2, kU3, kUnmask}) {
    const auto changed = static_cast<uint8_t>(question | 1 << kEditShift | kResigned);
    const uint8_t state = question == kU0         ? 0
                          : question == kDelivery ? 1
                          : question == kManifest ? 2
                          : question == kU2       ? 3
                          : question == kU3       ? 4
                                                  : 5;
    seeds.push_back({state, changed, 9, 0, 1, question, changed, 30, 0, 4});
  }
  // The honest round; before or after one question of it the same with one site fewer, which all
  // sign.
  const uint8_t round[] = {kU0, kDelivery, kManifest, kU2, kCommit, kU3, kUnmask};
  for (uint8_t which : {kU0, kDelivery, kManifest, kU2, kU3, kUnmask}) {
    for (const bool first : {true, false}) {
      Bytes& seed = seeds.emplace_back(Bytes{0});
      for (uint8_t question : round) {
        if (question != which || !first) seed.push_back(question);
        if (question != which) continue;
        seed.insert(seed.end(), {static_cast<uint8_t>(which | kDrop << kEditShift | kResigned), 3});
        if (first) seed.push_back(question);
      }
    }
  }
  return seeds;
}

}  // namespace atl

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  atl::fuzz::Script script({data, size});
  const auto& records = atl::TheWorld().records;
  atl::Run run(records[script.U8() % records.size()]);
  for (int i = 0; i < atl::kQuestionsMax && !script.done(); ++i) run.Ask(script.U8(), script);
  return 0;
}

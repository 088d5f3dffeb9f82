#include "tests/coordinator/simulation.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "comms/base/crypto/sha256.h"
#include "comms/sitelink/messages.h"
#include "federation/coordinator/split_setup.h"
#include "federation/secagg/check_result.h"
#include "federation/secagg/signed_bodies.h"
#include "federation/secagg/signing.h"
#include "federation/secagg/site_split.h"
#include "federation/secagg/sum.h"
#include "kernels/pack.h"
#include "kernels/quantize.h"
#include "recipes/schema/load.h"

namespace atl::coordinator {
namespace {

constexpr uint64_t kParameters = 37;
constexpr int kTickMs = 50;

// Sites here lose nothing but their connection, so memory will do.
class Journal : public secagg::SlotJournal {
 public:
  absl::Status Save(SlotId, secagg::SlotState, ByteView) override { return absl::OkStatus(); }
  absl::StatusOr<std::vector<secagg::SignedCohort>> SignedCohorts(
      const std::optional<Digest>&) override {
    return cohorts_;
  }
  absl::Status KeepCohort(const secagg::SignedCohort& cohort) override {
    cohorts_.push_back(cohort);
    return absl::OkStatus();
  }

 private:
  std::vector<secagg::SignedCohort> cohorts_;
};

class NoSplitJournal : public secagg::SplitJournal {
 public:
  absl::Status SaveSplit(ByteView) override { return absl::OkStatus(); }
};

Secret32 SeedOf(uint32_t number) {
  const Digest digest = Sha256::Of(AsBytes(absl::StrCat("identity ", number)));
  return Secret32(std::span<const uint8_t, 32>(digest));
}

std::string KindOfMessage(const v1::CoordinatorMessage& message) {
  if (message.has_secagg()) return v1::Step_Name(message.secagg().step());
  if (message.has_offer()) return "offer";
  if (message.has_evaluate()) return "evaluate";
  if (message.has_round_aborted()) return "aborted";
  return message.has_job_ended() ? "ended" : "other";
}

}  // namespace

std::string Comparable(const Core& core, JobId job) {
  v1::JobReport report = core.Report(job).value();
  for (v1::RoundReport& round : *report.mutable_round_reports()) {
    round.clear_bytes_up();
    round.clear_bytes_down();
  }
  // Why a queued job waits is worked out anew.
  if (report.status() == v1::QUEUED) report.clear_reason();
  return report.DebugString();
}

uint64_t TestSeed(uint64_t otherwise) {
  const char* text = std::getenv("ATOLL_TEST_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

struct Simulation::Site {
  explicit Site(secagg::SiteIdentity who) : identity(std::move(who)) {}
  secagg::SiteIdentity identity;
  Journal journal;
  NoSplitJournal split_journal;
  std::optional<secagg::SiteSplit> split;  // of a run in groups
  std::map<SlotId, secagg::SiteSlot> slots;
  std::map<SlotId, secagg::Manifest> manifests;
  std::map<SlotId, v1::SecAgg> commits;  // as they were sent
  secagg::RunId run{};
  bool connected = false;
};

Simulation::Simulation(const SimulationOptions& options)
    : options_(options), random_({.seed = options.seed, .label = "simulation"}) {
  std::map<SiteId, secagg::RosterEntry> entries;
  for (uint32_t id = 1; id <= options.sites; ++id) {
    entries[SiteId(id)] = {absl::StrCat("site-", id),
                           OpensslSuite().SigningKeyPair(SeedOf(id)).public_key};
  }
  roster_ = std::make_unique<secagg::Roster>(
      secagg::Roster::Create(entries, SeedOf(0), OpensslSuite()).value());
  environment_ = {.roster = roster_.get(),
                  .suite = &OpensslSuite(),
                  .reconnect_grace_s = 5,
                  .cohort_wait_s = 15};
  core_ = std::make_unique<Core>(environment_);
  for (uint32_t id = 1; id <= options.sites; ++id) {
    auto site = std::make_unique<Site>(secagg::SiteIdentity{.id = SiteId(id),
                                                            .seed = SeedOf(id),
                                                            .roster = *roster_,
                                                            .floors = {},
                                                            .suite = &OpensslSuite(),
                                                            .random = &SystemRandom()});
    site->identity.floors.allow_plain = true;
    site->identity.floors.cohorts = options.cohorts;
    sites_[SiteId(id)] = std::move(site);
  }
  recipe_.name = "simulated";
  recipe_.run = "atoll run task.yaml";
  recipe_.site.count = static_cast<int>(options.sites);
  recipe_.data.evaluate = options.evaluate;
  recipe_.federation.rounds = options.rounds;
  recipe_.federation.cohort_min = options.cohort_min;
  recipe_.federation.slots_ahead = options.slots_ahead;
  recipe_.federation.progress_timeout_s = 60;
  recipe_.federation.weight_max = 1000;
  recipe_.secure_aggregation.enabled = options.masked;
  recipe_.secure_aggregation.group_size_max = options.group_size_max;
  recipe_.secure_aggregation.corrupt_sites_max = options.corrupt_sites_max;
}

Simulation::~Simulation() = default;

void Simulation::ConnectAll() {
  for (const auto& [id, site] : sites_) Connect(id);
}

void Simulation::Connect(SiteId site) {
  if (site == kEvaluator) {
    evaluator_ = true;
  } else {
    sites_[site]->connected = true;
  }
  links_[site] = Link();
  Post(PeerConnected{site, 4, 8});
}

void Simulation::Kill(SiteId site) {
  if (site == kEvaluator) {
    evaluator_ = false;
  } else {
    sites_[site]->connected = false;
  }
  links_[site] = Link();
  Post(PeerGone{site, "connection closed"});
}

JobId Simulation::Submit() {
  JobSubmitted submitted;
  submitted.job = job_;
  submitted.recipe_yaml = recipes::ToYaml(recipe_);
  yaml_ = submitted.recipe_yaml;
  submitted.first_model = Sha256::Of(AsBytes("first model"));
  submitted.parameters = kParameters;
  submitted.run = {9, 9, 9};
  Post(submitted);
  return job_;
}

void Simulation::Step(const Event& event) {
  if (IsLogged(event)) log_.push_back(EncodeEvent(event, clock_.NowMs()));
  Effects effects;
  core_->Step(event, clock_.NowMs(), effects);
  Carry(std::move(effects));
}

void Simulation::Carry(Effects effects) {
  for (Effect& effect : effects.list()) {
    if (auto* send = std::get_if<Send>(&effect)) {
      ++sent_[KindOfMessage(send->message)];
      const bool connected = send->to == kEvaluator ? evaluator_ : sites_.at(send->to)->connected;
      if (connected) links_[send->to].down.push_back(std::move(send->message));
    } else if (auto* allow = std::get_if<AllowUpload>(&effect)) {
      // The upload takes a while, as anything else.
      allowed_.insert(allow->id);
      if (vectors_.contains(allow->id) && sites_.at(allow->id.site)->connected) {
        links_[allow->id.site].up.push_back(UploadComplete{allow->id, allow->bytes});
      }
    } else if (auto* keep = std::get_if<KeepSecrets>(&effect)) {
      kept_secrets_[keep->slot] = std::move(keep->secrets);
    } else if (auto* checks = std::get_if<AllowChecks>(&effect)) {
      // A sum may be checked exactly as long as its vectors are there.
      for (const auto& [site, group] : checks->askers) {
        if (!secagg::Contains(checks->survivors.at(group), site)) continue;
        if (!vectors_.contains({checks->job, checks->round, checks->slot, site})) {
          wrong_sums_.push_back(absl::StrCat("round ", checks->round.value(),
                                             ": the vector of site ", site.value(),
                                             " is gone before its checks"));
        }
      }
    } else if (auto* forget = std::get_if<ForgetSlot>(&effect)) {
      if (forget->round.value() != 0) kept_secrets_.erase(forget->slot);
      std::erase_if(early_, [&](const auto& item) {
        return std::get<0>(item.first) == forget->round && std::get<1>(item.first) == forget->slot;
      });
      std::erase_if(vectors_, [&](const auto& item) {
        return forget->round.value() != 0 && item.first.slot == forget->slot &&
               item.first.round == forget->round;
      });
    } else if (const auto* early = std::get_if<SumEarly>(&effect)) {
      early_[{early->id.round, early->id.slot, early->group}].insert(early->id.site);
    } else if (auto* sum = std::get_if<StartSum>(&effect)) {
      Sum(*sum);
    } else if (auto* publish = std::get_if<Publish>(&effect)) {
      if (publish->event.has_note()) notes_.push_back(publish->event.note());
      if (publish->event.has_status()) statuses_.push_back(publish->event.status());
    }
  }
}

std::vector<int64_t> Simulation::Update(SiteId site, uint32_t round, size_t segment,
                                        uint64_t length) const {
  std::vector<int64_t> values(length);
  for (uint64_t i = 0; i < length; ++i) {
    if (segment == sitelink::kMetricsSegment) {
      values[i] = static_cast<int64_t>(100 * site.value() + i);
    } else {
      values[i] = static_cast<int64_t>((site.value() * 131 + round * 17 + i * 7) % 2001) - 1000;
    }
  }
  return values;
}

// Whatever was added up early must be in the sum. With secure aggregation that is everything, also
// after a restart, which comes back to R4 at the latest.
void Simulation::CheckEarly(const StartSum& task) {
  for (const SumGroup& group : task.groups) {
    const std::set<SiteId> survivors(group.survivors.begin(), group.survivors.end());
    const std::set<SiteId>& early = early_[{task.round, task.slot, group.number}];
    const bool is_within =
        std::includes(survivors.begin(), survivors.end(), early.begin(), early.end());
    if (is_within && (!options_.masked || early == survivors)) continue;
    wrong_sums_.push_back(absl::StrCat("round ", task.round.value(), ", group ", group.number, ": ",
                                       early.size(), " vectors may be added up early, ",
                                       survivors.size(), " are in the sum"));
  }
}

void Simulation::Sum(const StartSum& task) {
  CheckEarly(task);
  const kernels::VectorLayout layout(task.segments);
  ++sums_;
  if (task.slot.value() != 0 &&
      !summed_slots_.insert({task.job.value(), task.slot.value()}).second) {
    wrong_sums_.push_back(absl::StrCat("slot ", task.slot.value(), " was summed twice"));
  }
  SumOutcome outcome;
  Sha256 digest;
  const bool is_split = task.groups.front().number > 0;
  std::vector<Sha256> group_digests(is_split ? task.groups.size() : 0);
  for (uint32_t index = 0; index < layout.chunk_count(); ++index) {
    const kernels::Chunk chunk = layout.chunk(index);
    auto total = secagg::ChunkSummer::Create(layout, index).value();
    for (size_t g = 0; g < task.groups.size(); ++g) {
      const SumGroup& group = task.groups[g];
      auto summer = secagg::ChunkSummer::Create(layout, index).value();
      for (SiteId site : group.survivors) {
        const Bytes& vector = vectors_.at({task.job, task.round, task.slot, site});
        if (!summer.Add(ByteView(vector).subspan(chunk.byte_offset, chunk.bytes)).ok())
          std::abort();
      }
      summer.AddStreams(group.streams, task.cipher);
      const Bytes of_group = summer.Finish();
      if (is_split) group_digests[g].Update(of_group);
      if (!total.Add(of_group).ok()) std::abort();
    }
    const Bytes packed = total.Finish();
    digest.Update(packed);
    const kernels::Segment& segment = task.segments[chunk.segment];
    Bytes lanes(segment.length * segment.lane_bytes());
    kernels::UnpackLanes(packed, segment.lane_bytes(), segment.sum_bits, segment.length, lanes);
    std::vector<int64_t> expected(segment.length, 0);
    for (SiteId site : task.survivors) {
      const auto update = Update(site, task.round.value(), chunk.segment, segment.length);
      for (uint64_t i = 0; i < segment.length; ++i) expected[i] += update[i];
    }
    for (uint64_t i = 0; i < segment.length; ++i) {
      const int64_t got = kernels::SignedLane(lanes, segment.lane_bytes(), segment.sum_bits, i);
      if (got != expected[i]) {
        wrong_sums_.push_back(absl::StrCat("round ", task.round.value(), ", segment ",
                                           chunk.segment, ", coordinate ", i, ": ", got, " for ",
                                           expected[i]));
        break;
      }
    }
    if (chunk.segment == sitelink::kMetricsSegment)
      outcome.examples = static_cast<uint64_t>(expected[1]);
  }
  if (task.scale_rule == strategy::ScaleRule::kLastAggregate)
    outcome.next_range = NextRangeOf(task.round);
  outcome.sum = digest.Finish();
  for (Sha256& group : group_digests) outcome.group_sums.push_back(group.Finish());
  outcome.next_model = Sha256::Of(outcome.sum);
  Post(SumDone{task.job, task.round, task.slot, outcome});
}

void Simulation::Say(Site& site, v1::SiteMessage message) {
  links_[site.identity.id].up.push_back(PeerSaid{site.identity.id, std::move(message)});
}

void Simulation::SayStep(Site& site, SlotId slot, uint32_t round, v1::Step step, Bytes payload) {
  v1::SiteMessage message;
  v1::SecAgg* secagg = message.mutable_secagg();
  secagg->set_job_id(job_.value());
  secagg->set_slot(slot.value());
  secagg->set_round(round);
  secagg->set_step(step);
  secagg->set_payload(payload.data(), payload.size());
  Say(site, std::move(message));
}

void Simulation::CommitTo(Site& site, const secagg::Manifest& manifest,
                          std::vector<secagg::MaskStream> streams) {
  const SiteId id = site.identity.id;
  Bytes packed;
  for (size_t s = 0; s < manifest.segments.size(); ++s) {
    const kernels::Segment& segment = manifest.segments[s];
    Bytes lanes(segment.length * segment.lane_bytes());
    const auto values = Update(id, manifest.round.value(), s, segment.length);
    for (uint64_t i = 0; i < segment.length; ++i)
      kernels::StoreLane(lanes, segment.lane_bytes(), i, values[i]);
    const auto keys = secagg::MaskKeysOf(streams, static_cast<uint32_t>(s));
    kernels::AddMasks(lanes, segment.lane_bytes(), 0, keys, manifest.cipher);
    Bytes out(segment.packed_bytes());
    kernels::PackLanes(lanes, segment.lane_bytes(), segment.sum_bits, segment.length, out);
    packed.insert(packed.end(), out.begin(), out.end());
  }
  secagg::Commit commit;
  const Digest root = Sha256::Of(packed);
  if (manifest.masked) {
    commit = site.slots.at(manifest.slot).SignCommit(packed.size(), root).value();
  } else {
    secagg::Session session{.roster = roster_->digest(), .run = manifest.run, .slot = SlotId(0)};
    const Digest context = secagg::ContextOf(secagg::HashOf(manifest), manifest.members);
    commit = {.id = id, .bytes = packed.size(), .root = root};
    commit.signature =
        secagg::SignBody(OpensslSuite(), site.identity.seed, session, secagg::kCommitLabel,
                         secagg::CommitBody(context, packed.size(), root));
  }
  vectors_[{job_, manifest.round, manifest.slot, id}] = packed;
  SayStep(site, manifest.slot, manifest.round.value(), v1::COMMIT, secagg::Encode(commit));
  site.commits[manifest.slot] = std::get<PeerSaid>(links_[id].up.back()).message.secagg();
}

void Simulation::AnswerSplit(Site& site, const v1::SecAgg& step) {
  const ByteView payload = AsBytes(step.payload());
  const auto say = [&](v1::Step answer, auto message) {
    if (message.ok()) SayStep(site, SlotId(0), 0, answer, secagg::Encode(*message));
  };
  switch (step.step()) {
    case v1::REQUEST_GROUP_COMMIT:
      return say(v1::GROUP_COMMIT,
                 site.split->Commit(secagg::Decode<secagg::GroupOpen>(payload).value()));
    case v1::GROUP_COMMIT_SET:
      return say(v1::GROUP_SIGNATURE,
                 site.split->Sign(secagg::Decode<secagg::GroupCommitSet>(payload).value()));
    case v1::GROUP_SIGNATURE_SET:
      return say(v1::GROUP_REVEAL,
                 site.split->Reveal(secagg::Decode<secagg::GroupSignatureSet>(payload).value()));
    default:
      (void)site.split->Assign(secagg::Decode<secagg::GroupRevealSet>(payload).value());
  }
}

// A message that comes late is not answered; what the site's own file forbids ends the job there.
// As at an agent.
void Simulation::Answer(Site& site, const v1::SecAgg& step) {
  const SlotId slot(step.slot());
  const ByteView payload = AsBytes(step.payload());
  if (step.step() == v1::REQUEST_PRE_KEYS) {
    if (!site.slots.contains(slot)) {
      secagg::Session session{.roster = roster_->digest(), .run = site.run, .slot = slot};
      secagg::SlotScope scope;
      if (site.split) {
        if (!site.split->group()) return;
        session.group = site.split->group()->number;
        scope = site.split->group()->scope;
      }
      site.slots.emplace(
          slot, secagg::SiteSlot::Create(site.identity, session, site.journal, scope).value());
    }
    if (auto keys = site.slots.at(slot).PreKeys(); keys.ok()) {
      SayStep(site, slot, 0, v1::PRE_KEYS, secagg::Encode(*keys));
    }
    return;
  }
  if (site.split && IsSplitStep(step.step())) return AnswerSplit(site, step);
  if (step.step() == v1::MANIFEST) {
    const auto manifest = secagg::Decode<secagg::Manifest>(payload).value();
    site.manifests[slot] = manifest;
    if (!manifest.masked) return CommitTo(site, manifest, {});
  }
  if (step.step() == v1::RESULT && slot.value() == 0) {
    return SayStep(site, slot, step.round(), v1::RESULT_CHECKED, ByteWriter().U32(1).bytes());
  }
  const auto at = site.slots.find(slot);
  if (at == site.slots.end()) return;
  secagg::SiteSlot& mine = at->second;
  const auto say = [&](v1::Step answer, auto message) {
    if (message.ok()) return SayStep(site, slot, step.round(), answer, secagg::Encode(*message));
    if (!absl::IsPermissionDenied(message.status())) return;
    v1::SiteMessage failure;
    failure.mutable_failure()->set_job_id(job_.value());
    failure.mutable_failure()->set_reason(std::string(message.status().message()));
    Say(site, std::move(failure));
  };
  switch (step.step()) {
    case v1::PRE_KEY_SET:
      return say(v1::SHARES, mine.DealShares(secagg::Decode<secagg::PreKeySet>(payload).value()));
    case v1::SHARE_DELIVERY:
      return say(v1::SHARE_RECEIPT,
                 mine.TakeShares(secagg::Decode<secagg::ShareDelivery>(payload).value()));
    case v1::MANIFEST: {
      const secagg::Manifest& manifest = site.manifests.at(slot);
      return say(v1::READY, mine.SignReady(manifest, {manifest.model, Sha256::Of(AsBytes(yaml_)),
                                                      manifest.round}));
    }
    case v1::COHORT: {
      if (const auto commit = site.commits.find(slot); commit != site.commits.end()) {
        v1::SiteMessage message;
        *message.mutable_secagg() = commit->second;
        return Say(site, std::move(message));
      }
      auto streams = mine.EnterContext(secagg::Decode<secagg::CohortSet>(payload).value());
      if (streams.ok()) CommitTo(site, site.manifests.at(slot), *std::move(streams));
      return;
    }
    case v1::SURVIVORS:
      return say(v1::SURVIVOR_SIGNATURE,
                 mine.SignSurvivors(secagg::Decode<secagg::SurvivorSet>(payload).value()));
    case v1::UNMASK_REQUEST:
      return say(v1::UNMASK_ANSWER,
                 mine.Unmask(secagg::Decode<secagg::UnmaskRequest>(payload).value()));
    case v1::RESULT: {
      const auto result = secagg::Decode<secagg::Result>(payload).value();
      // A group that is out has nothing in the sum, and its sites nothing to hold it to.
      const uint32_t group = site.manifests.contains(slot) ? site.manifests.at(slot).group : 0;
      const bool is_out = group > 0 && (result.group_sums.size() < group ||
                                        result.group_sums[group - 1] == Digest{});
      if (const auto facts = mine.Facts(); facts.ok() && !is_out) {
        const auto streams = secagg::CheckResult(*facts, *roster_, OpensslSuite(), result);
        if (!streams.ok()) wrong_sums_.push_back(std::string(streams.status().message()));
        auto inflated = result;
        inflated.sites = static_cast<uint32_t>(sites_.size()) + 1;
        if (secagg::CheckResult(*facts, *roster_, OpensslSuite(), inflated).ok()) {
          wrong_sums_.push_back("a sum of more sites than there are was taken");
        }
      }
      (void)mine.Erase();
      return SayStep(site, slot, step.round(), v1::RESULT_CHECKED, ByteWriter().U32(1).bytes());
    }
    default:
      return;
  }
}

void Simulation::Receive(Site& site, const v1::CoordinatorMessage& message) {
  const Fate fate = director ? director(site.identity.id, message) : Fate::kAnswer;
  if (fate == Fate::kIgnore) return;
  if (fate == Fate::kDie) return Kill(site.identity.id);
  if (message.has_offer()) {
    std::copy(message.offer().run().begin(), message.offer().run().end(), site.run.begin());
    if (options_.masked && !site.split &&
        message.offer().site_count() > static_cast<uint32_t>(options_.group_size_max)) {
      const secagg::GroupTerms terms{static_cast<uint32_t>(options_.group_size_max),
                                     static_cast<uint32_t>(options_.corrupt_sites_max)};
      site.split.emplace(
          secagg::SiteSplit::Open(site.identity, site.run, terms, {}, site.split_journal).value());
    }
    v1::SiteMessage answer;
    const auto refusal = refusals.find(site.identity.id);
    answer.mutable_decision()->set_job_id(message.offer().job_id());
    answer.mutable_decision()->set_accepted(refusal == refusals.end());
    if (refusal != refusals.end()) answer.mutable_decision()->set_reason(refusal->second);
    Say(site, std::move(answer));
  } else if (message.has_secagg()) {
    Answer(site, message.secagg());
  } else if (message.has_round_aborted()) {
    if (const auto at = site.slots.find(SlotId(message.round_aborted().slot()));
        at != site.slots.end()) {
      (void)at->second.Burn();
    }
  }
  if (fate == Fate::kAnswerAndDie) {
    // What it said still arrives.
    Link& link = links_[site.identity.id];
    for (Event& event : link.up) Post(std::move(event));
    Kill(site.identity.id);
  }
}

bool Simulation::DeliverOne() {
  if (!inbox_.empty()) {
    const Event event = std::move(inbox_.front());
    inbox_.pop_front();
    Step(event);
    return true;
  }
  std::vector<SiteId> ready;
  for (const auto& [id, link] : links_) {
    if (!link.down.empty() || !link.up.empty()) ready.push_back(id);
  }
  if (ready.empty()) return false;
  const SiteId id = ready[random_.Below(ready.size())];
  Link& link = links_[id];
  if (!link.up.empty() && (link.down.empty() || random_.Below(2) == 0)) {
    const Event event = link.up.front();
    link.up.pop_front();
    if (random_.Uniform() < options_.repeat) link.up.push_back(event);
    Step(event);
    return true;
  }
  const v1::CoordinatorMessage message = link.down.front();
  link.down.pop_front();
  if (random_.Uniform() < options_.repeat) link.down.push_back(message);
  if (id != kEvaluator) {
    Receive(*sites_.at(id), message);
  } else if (message.has_evaluate() && (!director || director(id, message) == Fate::kAnswer)) {
    v1::SiteMessage answer;
    v1::Evaluation* evaluation = answer.mutable_evaluation();
    evaluation->set_job_id(message.evaluate().job_id());
    evaluation->set_round(message.evaluate().round());
    evaluation->set_examples(100);
    evaluation->set_correct(70 + message.evaluate().round());
    link.up.push_back(PeerSaid{kEvaluator, std::move(answer)});
  }
  return true;
}

void Simulation::Run(const std::function<bool()>& until, int64_t limit_ms) {
  const int64_t end_ms = clock_.NowMs() + limit_ms;
  while (clock_.NowMs() < end_ms) {
    if (until && until()) return;
    if (core_->Ended(job_) != nullptr && inbox_.empty()) return;
    const bool moved = DeliverOne();
    if (moved && random_.Below(4) != 0) continue;
    clock_.AdvanceMs(moved ? 1 : kTickMs);
    Effects effects;
    const std::vector<Event> due = core_->Due(clock_.NowMs(), effects);
    Carry(std::move(effects));
    for (const Event& event : due) Step(event);
  }
}

void Simulation::RunWhileSitesDie(SeededRandom& random, uint64_t percent, uint64_t away_ms_max) {
  std::map<SiteId, int64_t> away;  // until when
  director = [&](SiteId site, const v1::CoordinatorMessage&) {
    const uint64_t draw = random.Below(100);
    if (draw >= percent) return Fate::kAnswer;
    away[site] = now_ms() + static_cast<int64_t>(random.Below(away_ms_max));
    return draw < percent / 2 ? Fate::kDie : Fate::kAnswerAndDie;
  };
  Run([&] {
    std::erase_if(away, [&](const auto& item) {
      if (item.second > now_ms()) return false;
      Connect(item.first);
      return true;
    });
    return false;
  });
  director = nullptr;
}

std::unique_ptr<Core> Simulation::Folded() const {
  auto core = std::make_unique<Core>(environment_);
  for (const Bytes& bytes : log_) {
    const TimedEvent timed = DecodeEvent(bytes).value();
    Effects effects;
    core->Step(timed.event, timed.at_ms, effects);
  }
  return core;
}

void Simulation::RestartCoordinator() {
  early_.clear();
  core_ = Folded();
  inbox_.clear();
  summed_slots_.clear();  // what was not finished is summed again
  for (auto& [id, site] : sites_) site->connected = false;
  evaluator_ = false;
  links_.clear();
  Step(Restarted{});
  for (const auto& [slot, secrets] : kept_secrets_) {
    if (!core_->NeedsSecrets(job_, slot)) {
      wrong_sums_.push_back(absl::StrCat("secrets of slot ", slot.value(), " were left behind"));
    }
    core_->RestoreSecrets(job_, slot, secrets);
  }
  Effects effects;
  core_->Resume(effects);
  Carry(std::move(effects));
}

}  // namespace atl::coordinator

#include "tests/site/workbench.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <future>

#include "comms/base/crypto/sha256.h"
#include "comms/sitelink/messages.h"
#include "federation/secagg/signing.h"
#include "federation/secagg/sum.h"
#include "federation/strategy/scale.h"
#include "federation/strategy/strategy.h"
#include "gtest/gtest.h"
#include "kernels/masks.h"
#include "kernels/pack.h"
#include "kernels/quantize.h"

namespace atl::site {
namespace {

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    ADD_FAILURE() << value.status();
    std::abort();
  }
  return *std::move(value);
}
void Must(const absl::Status& status) { EXPECT_TRUE(status.ok()) << status; }

}  // namespace

// The other sites' journals: this test does not restart them.
class Workbench::Journal : public secagg::SlotJournal {
 public:
  absl::Status Save(SlotId, secagg::SlotState, ByteView) override { return absl::OkStatus(); }
  absl::StatusOr<std::vector<secagg::SignedCohort>> SignedCohorts(
      const std::optional<Digest>&) override {
    return std::vector<secagg::SignedCohort>();
  }
  absl::Status KeepCohort(const secagg::SignedCohort&) override { return absl::OkStatus(); }
};

Workbench::Workbench(BenchOptions options_in)
    : bench(std::move(options_in)),
      folder_(Must(TemporaryFolder::Create("atoll-site-test"))),
      journal_(std::make_unique<Journal>()) {
  const CryptoSuite& suite = OpensslSuite();
  std::vector<KeyPair> keys;
  std::map<SiteId, secagg::RosterEntry> entries;
  for (uint32_t i = 1; i <= bench.sites; ++i) {
    keys.push_back(suite.SigningKeyPair(SystemRandom().Draw32()));
    entries[SiteId(i)] = {"site-" + std::to_string(i), keys.back().public_key};
  }
  roster_ = Must(secagg::Roster::Create(entries, SystemRandom().Draw32(), suite));
  for (uint32_t i = 2; i <= bench.sites; ++i) {
    peers_[i].identity = {SiteId(i), keys[i - 1].secret, *roster_, {}, &suite, &SystemRandom()};
  }
  Must(WriteFileAtomic(folder_.path() / "roster.json", AsBytes(roster_->ToJson())));
  Must(WriteFileAtomic(folder_.path() / "identity.key", AsBytes(Hex(keys[0].secret.span()) + "\n"),
                       0600));

  recipe =
      "name: bench\nrun: atoll run task.yaml\nresources: {cpus: 1, memory: 1}\nparameters:\n"
      "  model: {kind: mlp, classes: 10}\n  data: {dataset: fashion-mnist}\n"
      "  site: {count: 3, ranks: 2}\n  federation:\n    rounds: 3\n    weight_max: 1000\n" +
      bench.recipe_extra +
      "  privacy:\n    secure_aggregation: {enabled: " + (bench.masked ? "true" : "false") +
      ", scale: " + bench.scale + "}\n";

  coordinator = std::make_unique<FakeCoordinator>(roster_->digest());
  options.coordinator = coordinator->address();
  options.data_folder = data_folder();
  options.identity_file = folder_.path() / "identity.key";
  options.roster_file = folder_.path() / "roster.json";
  options.site_id = 1;
  options.trainer = "/nowhere/atoll-trainer";
  options.cpus = 4;
  options.memory_gb = 8;
  options.floors.allow_plain = !bench.masked;

  for (uint64_t first = 0; first < bench.parameters; first += kernels::kChunkElements) {
    std::vector<float> values(std::min(kernels::kChunkElements, bench.parameters - first));
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>((first + i) % 1000) / 1000;
    }
    Bytes chunk(values.size() * sizeof(float));
    std::memcpy(chunk.data(), values.data(), chunk.size());
    model_chunks_.push_back(std::move(chunk));
  }
  first_model_ = model = coordinator->AddBlob(model_chunks_);
}

Workbench::~Workbench() {
  if (thread_.joinable()) Must(StopAgent());
}

void Workbench::StartAgent() {
  std::promise<absl::Status> created;
  const size_t before = coordinator->hellos();
  thread_ = std::thread([&] {
    auto agent = Agent::Create(options, launcher, RealClock());
    if (!agent.ok()) {
      created.set_value(agent.status());
      return;
    }
    agent_ = *std::move(agent);
    created.set_value(absl::OkStatus());
    run_status_ = agent_->Run();
  });
  const absl::Status status = created.get_future().get();
  ASSERT_TRUE(status.ok()) << status;
  if (coordinator->protocol_version == 1) {
    ASSERT_TRUE(coordinator->WaitForHello(before + 1));
  }
}

std::optional<Process> Workbench::StartAgentProcess() {
  std::filesystem::create_directory(pids());
  setenv("ATOLL_TEST_PIDS", pids().c_str(), 1);
  ProcessOptions process;
  process.arguments = {SITE_PROGRAM,
                       coordinator->address(),
                       data_folder().string(),
                       options.identity_file.string(),
                       options.roster_file.string(),
                       FAKE_TRAINER_PROGRAM};
  auto agent = Process::Start(process);
  if (agent.ok() && coordinator->WaitForHello() && Offer().accepted()) return *std::move(agent);
  ADD_FAILURE() << "the agent did not take the job " << agent.status();
  return std::nullopt;
}

absl::Status Workbench::StopAgent() {
  if (agent_) agent_->RequestStop();
  return JoinAgent();
}

absl::Status Workbench::JoinAgent() {
  thread_.join();
  agent_.reset();
  return run_status_;
}

v1::CoordinatorMessage Workbench::OfferMessage() const {
  v1::CoordinatorMessage message;
  v1::JobOffer& offer = *message.mutable_offer();
  offer.set_job_id(1);
  offer.set_run(run.data(), run.size());
  offer.set_recipe_yaml(recipe);
  offer.set_model(model.data(), model.size());
  offer.set_first_model(first_model_.data(), first_model_.size());
  offer.set_parameters(bench.parameters);
  offer.set_site_index(0);
  offer.set_site_count(bench.sites);
  offer.set_round(1);
  return message;
}

v1::JobDecision Workbench::Offer() {
  coordinator->Say(OfferMessage());
  const std::optional<v1::SiteMessage> answer = coordinator->Hear();
  EXPECT_TRUE(answer && answer->has_decision());
  return answer ? answer->decision() : v1::JobDecision();
}

secagg::Session Workbench::SessionOf(uint64_t slot) const {
  secagg::Session session;
  session.roster = roster_->digest();
  session.run = run;
  session.slot = SlotId(slot);
  return session;
}

Signature Workbench::Forge(uint32_t id, const secagg::Session& session, std::string_view label,
                           ByteView body) const {
  return secagg::SignBody(OpensslSuite(), peers_.at(id).identity.seed, session, label, body);
}

void Workbench::PrepareSlot(uint64_t slot) {
  const secagg::PreKeySet set = TakePreKeys(slot);
  coordinator->SayStep(0, slot, v1::PRE_KEY_SET, secagg::Encode(set));
  TakeShares(slot, set);
}

secagg::PreKeySet Workbench::TakePreKeys(uint64_t slot) {
  secagg::CoordinatorSlot& state =
      slots_.emplace(slot, secagg::CoordinatorSlot(SessionOf(slot), *roster_, OpensslSuite()))
          .first->second;
  coordinator->SayStep(0, slot, v1::REQUEST_PRE_KEYS, {});
  Must(state.AddPreKeys(
      Must(secagg::Decode<secagg::PreKeyRecord>(coordinator->HearStep(v1::PRE_KEYS)))));
  for (auto& [id, peer] : peers_) {
    auto mine = Must(secagg::SiteSlot::Create(peer.identity, SessionOf(slot), *journal_));
    Must(state.AddPreKeys(Must(mine.PreKeys())));
    peer.slots.emplace(slot, std::move(mine));
  }
  return Must(state.ClosePreKeys(3));
}

void Workbench::TakeShares(uint64_t slot, const secagg::PreKeySet& set) {
  secagg::CoordinatorSlot& state = slots_.at(slot);
  Must(state.AddShares(
      Must(secagg::Decode<secagg::ShareBundle>(coordinator->HearStep(v1::SHARES)))));
  for (auto& [id, peer] : peers_) {
    Must(state.AddShares(Must(peer.slots.at(slot).DealShares(set))));
  }
  coordinator->SayStep(0, slot, v1::SHARE_DELIVERY,
                       secagg::Encode(Must(state.DeliveryFor(SiteId(1)))));
  Must(state.AddReceipt(
      Must(secagg::Decode<secagg::ShareReceipt>(coordinator->HearStep(v1::SHARE_RECEIPT)))));
  for (auto& [id, peer] : peers_) {
    Must(state.AddReceipt(
        Must(peer.slots.at(slot).TakeShares(Must(state.DeliveryFor(SiteId(id)))))));
  }
  EXPECT_EQ(Must(state.CloseShares(3)).size(), bench.sites);
}

secagg::Manifest Workbench::MakeManifest(uint32_t round, uint64_t slot) {
  kernels::Segment metrics, update;
  metrics.length = sitelink::kMetricCount;
  metrics.value_bits = sitelink::kMetricValueBits;
  metrics.sum_bits = kernels::SumBits(metrics.value_bits, bench.sites);
  update.length = bench.parameters;
  update.value_bits = 16;
  update.sum_bits = kernels::SumBits(update.value_bits, bench.sites);
  update.scale = strategy::ScaleOf(
      update, strategy::RangeOf(strategy::ScaleRuleOf(bench.scale), /*clip=*/20, next_range_));
  secagg::Manifest manifest;
  manifest.run = run;
  manifest.slot = SlotId(slot);
  manifest.round = RoundId(round);
  manifest.masked = bench.masked;
  manifest.model = model;
  manifest.recipe = Sha256::Of(AsBytes(recipe));
  manifest.segments = {metrics, update};
  manifest.clip_norm_l2 = 20;
  manifest.weight_max = 1000;
  for (uint32_t id = 1; id <= bench.sites; ++id) manifest.members.push_back(SiteId(id));
  return bench.masked ? Must(slots_.at(slot).OpenRound(manifest)) : manifest;
}

void Workbench::SayManifest(const secagg::Manifest& manifest) {
  coordinator->ExpectUpload(manifest.slot.value(),
                            kernels::VectorLayout(manifest.segments).chunk_count());
  coordinator->SayStep(manifest.round.value(), manifest.slot.value(), v1::MANIFEST,
                       secagg::Encode(manifest));
}

Bytes Workbench::TakeReadies(const secagg::Manifest& manifest) {
  const uint64_t slot = manifest.slot.value();
  secagg::CoordinatorSlot& state = slots_.at(slot);
  Must(state.AddReady(Must(secagg::Decode<secagg::Ready>(coordinator->HearStep(v1::READY)))));
  for (auto& [id, peer] : peers_) {
    Must(state.AddReady(Must(peer.slots.at(slot).SignReady(
        manifest, {manifest.model, manifest.recipe, manifest.round}))));
  }
  return secagg::Encode(Must(state.CloseReady(3)));
}

std::vector<Bytes> Workbench::MaskedZeros(const secagg::Manifest& manifest,
                                          const std::vector<secagg::MaskStream>& streams) const {
  const kernels::VectorLayout layout(manifest.segments);
  std::vector<Bytes> chunks;
  for (uint32_t i = 0; i < layout.chunk_count(); ++i) {
    const kernels::Chunk chunk = layout.chunk(i);
    const kernels::Segment& segment = manifest.segments[chunk.segment];
    std::vector<uint64_t> words(chunk.elements * segment.lane_bytes() / 8 + 1, 0);
    const std::span<uint8_t> lanes(reinterpret_cast<uint8_t*>(words.data()),
                                   chunk.elements * segment.lane_bytes());
    kernels::AddMasks(lanes, segment.lane_bytes(), chunk.first_element,
                      secagg::MaskKeysOf(streams, chunk.segment), manifest.cipher);
    Bytes packed(chunk.bytes);
    kernels::PackLanes(lanes, segment.lane_bytes(), segment.sum_bits, chunk.elements, packed);
    chunks.push_back(std::move(packed));
  }
  return chunks;
}

void Workbench::SayCohort(const secagg::Manifest& manifest, const Bytes& cohort) {
  const auto set = Must(secagg::Decode<secagg::CohortSet>(cohort));
  for (auto& [id, peer] : peers_) {
    const auto streams = Must(peer.slots.at(manifest.slot.value()).EnterContext(set));
    peer.vector = MaskedZeros(manifest, streams);
  }
  coordinator->SayStep(manifest.round.value(), manifest.slot.value(), v1::COHORT, cohort);
}

Bytes Workbench::TakeVectors(const secagg::Manifest& manifest, bool commit_heard) {
  const uint64_t slot = manifest.slot.value();
  secagg::CoordinatorSlot& state = slots_.at(slot);
  if (!commit_heard) {
    Must(state.AddCommit(Must(secagg::Decode<secagg::Commit>(coordinator->HearStep(v1::COMMIT)))));
  }
  EXPECT_TRUE(coordinator->WaitForUpload());
  std::vector<Digest> digests;
  for (const auto& [index, bytes] : coordinator->uploads().chunks) {
    digests.push_back(Sha256::Of(bytes));
  }
  EXPECT_EQ(MerkleRoot(digests), state.commit_of(SiteId(1))->root);
  Must(state.AddUploaded(SiteId(1)));

  for (auto& [id, peer] : peers_) {
    const uint64_t bytes = kernels::VectorLayout(manifest.segments).packed_bytes();
    digests.clear();
    for (const Bytes& chunk : peer.vector) digests.push_back(Sha256::Of(chunk));
    Must(state.AddCommit(Must(peer.slots.at(slot).SignCommit(bytes, MerkleRoot(digests)))));
    Must(state.AddUploaded(SiteId(id)));
  }
  return secagg::Encode(Must(state.CloseUploads(3)));
}

secagg::UnmaskRequest Workbench::TakeSignatures(const secagg::Manifest& manifest,
                                                const Bytes& survivors) {
  const uint64_t slot = manifest.slot.value();
  secagg::CoordinatorSlot& state = slots_.at(slot);
  coordinator->SayStep(manifest.round.value(), slot, v1::SURVIVORS, survivors);
  Must(state.AddSurvivorSignature(Must(
      secagg::Decode<secagg::SurvivorSignature>(coordinator->HearStep(v1::SURVIVOR_SIGNATURE)))));
  const auto u3 = Must(secagg::Decode<secagg::SurvivorSet>(survivors));
  for (auto& [id, peer] : peers_) {
    Must(state.AddSurvivorSignature(Must(peer.slots.at(slot).SignSurvivors(u3))));
  }
  return Must(state.CloseSurvivors());
}

void Workbench::Unmask(const secagg::Manifest& manifest, const Bytes& survivors) {
  const uint64_t slot = manifest.slot.value();
  secagg::CoordinatorSlot& state = slots_.at(slot);
  const secagg::UnmaskRequest request = TakeSignatures(manifest, survivors);
  coordinator->SayStep(manifest.round.value(), slot, v1::UNMASK_REQUEST, secagg::Encode(request));
  Must(state.AddAnswer(
      Must(secagg::Decode<secagg::UnmaskAnswer>(coordinator->HearStep(v1::UNMASK_ANSWER)))));
  for (auto& [id, peer] : peers_) Must(state.AddAnswer(Must(peer.slots.at(slot).Unmask(request))));

  const std::vector<secagg::MaskStream> streams = Must(state.StreamsToRemove());
  const kernels::VectorLayout layout(manifest.segments);
  const Uploads uploads = coordinator->uploads();
  sum_chunks_.clear();
  for (uint32_t i = 0; i < layout.chunk_count(); ++i) {
    auto summer = Must(secagg::ChunkSummer::Create(layout, i));
    Must(summer.Add(uploads.chunks.at(i)));
    for (auto& [id, peer] : peers_) Must(summer.Add(peer.vector.at(i)));
    summer.AddStreams(streams, manifest.cipher);
    sum_chunks_.push_back(summer.Finish());
    const kernels::Chunk chunk = layout.chunk(i);
    const kernels::Segment& segment = manifest.segments[chunk.segment];
    Bytes lanes(chunk.elements * segment.lane_bytes());
    kernels::UnpackLanes(sum_chunks_.back(), segment.lane_bytes(), segment.sum_bits, chunk.elements,
                         lanes);
    uint64_t wrong = 0;
    for (uint64_t e = 0; e < chunk.elements; ++e) {
      wrong += kernels::SignedLane(lanes, segment.lane_bytes(), segment.sum_bits, e) !=
               FakeValue(chunk.segment, chunk.first_element + e);
    }
    EXPECT_EQ(wrong, 0u) << "chunk " << i;
  }
}

secagg::Result Workbench::MakeResult(const secagg::Manifest& manifest, bool honest) {
  const kernels::VectorLayout layout(manifest.segments);
  secagg::Result result;
  result.round = manifest.round;
  if (bench.masked) {
    const secagg::CoordinatorSlot& slot = slots_.at(manifest.slot.value());
    result.survivors = slot.survivors();
    result.signatures = slot.request().signatures;
    result.secrets = Must(slot.RevealSecrets());
  } else {
    sum_chunks_.clear();
    for (const auto& [index, bytes] : coordinator->uploads().chunks) sum_chunks_.push_back(bytes);
    result.survivors = {{*plain_commit}};  // the others sent nothing
  }
  result.sites = static_cast<uint32_t>(result.survivors.members.size());
  result.sum = coordinator->AddBlob(sum_chunks_);
  result.group_sums = {result.sum};
  strategy::FedAvgOptions options;
  options.segment = manifest.segments[sitelink::kUpdateSegment];
  options.total_weight = 10.0 / 1000.0;
  strategy::SumOfSquares squares;
  for (uint32_t i = 1; i < layout.chunk_count(); ++i) {
    Must(squares.Add(sum_chunks_[i], layout.chunk(i).elements, options.segment));
  }
  next_range_ = strategy::NextRange(squares, options.segment, result.sites);
  std::vector<Bytes> next;
  for (uint32_t i = 1; i < layout.chunk_count(); ++i) {
    std::vector<float> values(layout.chunk(i).elements), out(values.size());
    std::memcpy(values.data(), model_chunks_[i - 1].data(), model_chunks_[i - 1].size());
    Must(strategy::ApplyFedAvg(values, sum_chunks_[i], options, out));
    if (!honest && i == 1) out[0] += 1;
    Bytes bytes(out.size() * sizeof(float));
    std::memcpy(bytes.data(), out.data(), bytes.size());
    next.push_back(std::move(bytes));
  }
  result.next_model = coordinator->AddBlob(next);
  model = result.next_model;
  model_chunks_ = std::move(next);
  return result;
}

void Workbench::ShowVectors(const secagg::Manifest& manifest, FakeCoordinator::Spoil spoil) {
  std::map<uint32_t, std::vector<Bytes>> vectors;
  for (const auto& [index, bytes] : coordinator->uploads().chunks) vectors[1].push_back(bytes);
  if (bench.masked) {
    for (const auto& [id, peer] : peers_) vectors[id] = peer.vector;
  }
  coordinator->ShowVectors(manifest.slot.value(), vectors, std::move(spoil));
}

void Workbench::SayResult(const secagg::Manifest& manifest, const secagg::Result& result) {
  coordinator->SayStep(manifest.round.value(), manifest.slot.value(), v1::RESULT,
                       secagg::Encode(result));
}

secagg::Result Workbench::PublishResult(const secagg::Manifest& manifest, bool honest) {
  const secagg::Result result = MakeResult(manifest, honest);
  ShowVectors(manifest);
  SayResult(manifest, result);
  return result;
}

uint32_t Workbench::HearChecked() {
  const Bytes payload = coordinator->HearStep(v1::RESULT_CHECKED);
  ByteReader reader(payload);
  return payload.empty() ? 0 : reader.U32();
}

void Workbench::RunRound(uint32_t round, uint64_t slot) {
  const secagg::Manifest manifest = MakeManifest(round, slot);
  SayManifest(manifest);
  SayCohort(manifest, TakeReadies(manifest));
  Unmask(manifest, TakeVectors(manifest));
  PublishResult(manifest);
  const uint32_t chunks = kernels::VectorLayout(manifest.segments).chunk_count();
  EXPECT_EQ(HearChecked(), std::min(chunks, options.spot_check_chunks + 1));
}

Bytes Workbench::ModelBytes() const {
  Bytes bytes;
  for (const Bytes& chunk : model_chunks_) bytes.insert(bytes.end(), chunk.begin(), chunk.end());
  return bytes;
}

void Workbench::LosePeer(uint32_t id) { peers_.erase(id); }

std::vector<std::string> Workbench::Masks() {
  std::lock_guard lock(launcher.log.mutex);
  return launcher.log.masks;
}

std::vector<std::string> Workbench::Asked() {
  std::lock_guard lock(launcher.log.mutex);
  return launcher.log.asked;
}

}  // namespace atl::site

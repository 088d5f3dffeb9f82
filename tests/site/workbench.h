// A site's agent on a bench: keys, roster and folders, the agent in a thread, a scripted
// coordinator, and the other two sites of a cohort, played by the protocol library itself.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "comms/base/files.h"
#include "comms/base/process.h"
#include "federation/secagg/coordinator_slot.h"
#include "federation/site/agent.h"
#include "tests/site/fake_coordinator.h"
#include "tests/site/fake_trainer.h"

namespace atl::site {

// 8 chunks and a bit more, so that uploads wait for acknowledgements.
inline constexpr uint64_t kManyParameters = 10 * kernels::kChunkElements + 17;

struct BenchOptions {
  bool masked = true;
  uint64_t parameters = kernels::kChunkElements + 100;
  uint32_t sites = 3;
  std::string recipe_extra = {};  // lines of the section `federation`
  std::string scale = "clip";     // secure_aggregation.scale
};

class Workbench {
 public:
  explicit Workbench(BenchOptions options = {});
  ~Workbench();

  // Starts the agent (site 1) and waits until it is connected.
  void StartAgent();
  // The agent as a process of its own instead, with fake trainers whose pids are names in pids().
  // Waits until it has taken the job. None, and a failure, where it does not.
  std::optional<Process> StartAgentProcess();
  // As SIGTERM does; what Run returned.
  absl::Status StopAgent();
  // Waits until Run returns by itself.
  absl::Status JoinAgent();
  // Offers the job and waits for the decision.
  v1::JobDecision Offer();
  v1::CoordinatorMessage OfferMessage() const;

  // E1 and E2 with the agent and the others, for this slot.
  void PrepareSlot(uint64_t slot);
  // E1 alone: U0, not yet said to the agent. Then E2 of a U0 that was said to it.
  secagg::PreKeySet TakePreKeys(uint64_t slot);
  void TakeShares(uint64_t slot, const secagg::PreKeySet& set);
  // What the coordinator sends for this round (masked: of a prepared slot).
  secagg::Manifest MakeManifest(uint32_t round, uint64_t slot);
  void SayManifest(const secagg::Manifest& manifest);
  // READY of all; the cohort.
  Bytes TakeReadies(const secagg::Manifest& manifest);
  // To the agent; the others mask zeros.
  void SayCohort(const secagg::Manifest& manifest, const Bytes& cohort);
  // The others commit and upload; the agent's commit and upload are awaited. U3.
  Bytes TakeVectors(const secagg::Manifest& manifest, bool commit_heard = false);
  // R3: the survivors said to all, their signatures.
  secagg::UnmaskRequest TakeSignatures(const secagg::Manifest& manifest, const Bytes& survivors);
  // R3 and R4; then the sum without masks, checked against what the fake trainer has.
  void Unmask(const secagg::Manifest& manifest, const Bytes& survivors);
  // Publishes the sum and the next model. `honest` false: another next model than the sum gives.
  secagg::Result PublishResult(const secagg::Manifest& manifest, bool honest = true);
  // The same, without a word to the agent; then what spot checks are shown, and the word.
  secagg::Result MakeResult(const secagg::Manifest& manifest, bool honest = true);
  void ShowVectors(const secagg::Manifest& manifest, FakeCoordinator::Spoil spoil = nullptr);
  void SayResult(const secagg::Manifest& manifest, const secagg::Result& result);
  // RESULT_CHECKED; how many chunks.
  uint32_t HearChecked();
  // The sum that is published next, by chunk: for who lies about it.
  std::vector<Bytes>& sum_chunks() { return sum_chunks_; }
  // All of a masked round, from the manifest to the result.
  void RunRound(uint32_t round, uint64_t slot);

  // What another site of the cohort signs for a coordinator that it helps.
  secagg::Session SessionOf(uint64_t slot) const;
  Signature Forge(uint32_t id, const secagg::Session& session, std::string_view label,
                  ByteView body) const;
  // The coordinator's side of a slot; the slot of another site.
  secagg::CoordinatorSlot& slot(uint64_t slot) { return slots_.at(slot); }
  secagg::SiteSlot& peer_slot(uint32_t id, uint64_t slot) { return peers_.at(id).slots.at(slot); }

  Bytes ModelBytes() const;          // of the current model
  std::vector<std::string> Asked();  // of the trainer
  std::vector<std::string> Masks();  // FakeTrainerLog::masks
  // Another site of the cohort (2 and up) that takes no further step.
  void LosePeer(uint32_t id);
  std::filesystem::path data_folder() const { return folder_.path() / "site"; }
  std::filesystem::path pids() const { return folder_.path() / "pids"; }

  BenchOptions bench;
  SiteOptions options;
  FakeLauncher launcher;
  std::unique_ptr<FakeCoordinator> coordinator;
  secagg::RunId run{7, 7, 7};
  std::string recipe;
  Digest model{};                              // current
  std::optional<secagg::Commit> plain_commit;  // the agent's, without secure aggregation

 private:
  class Journal;
  struct Peer {
    secagg::SiteIdentity identity;
    std::map<uint64_t, secagg::SiteSlot> slots;
    std::vector<Bytes> vector;  // chunks
  };
  std::vector<Bytes> MaskedZeros(const secagg::Manifest& manifest,
                                 const std::vector<secagg::MaskStream>& streams) const;

  TemporaryFolder folder_;
  Digest first_model_{};
  std::optional<secagg::Roster> roster_;
  std::unique_ptr<Journal> journal_;
  std::map<uint32_t, Peer> peers_;
  std::map<uint64_t, secagg::CoordinatorSlot> slots_;
  std::vector<Bytes> model_chunks_, sum_chunks_;
  double next_range_ = 0;  // strategy::NextRange of the last sum
  std::unique_ptr<Agent> agent_;
  absl::Status run_status_;
  std::thread thread_;
};

}  // namespace atl::site

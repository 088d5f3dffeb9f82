// A whole slot in one process: sites with journals that can lose what was not synced, and the real
// coordinator's side. Tests let it run to a step and then say to the sites what they like.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "federation/secagg/coordinator_slot.h"
#include "federation/secagg/site_slot.h"
#include "federation/secagg/sum.h"
#include "kernels/vector_layout.h"

namespace atl::secagg {

// Secret bytes from a seed: block i is SHA-256(u64 seed || u64 i).
class TestRandom : public SecretRandom {
 public:
  explicit TestRandom(uint64_t seed) : seed_(seed) {}
  void Fill(std::span<uint8_t> out) override;
  uint64_t Below(uint64_t bound);

 private:
  uint64_t seed_, block_ = 0;
};

// The structure of the real suite (keys agree, signatures bind, tags match) at a hundredth of its
// cost, and of course without its strength.
const CryptoSuite& CheapSuite();

// The seed of a random test: ATOLL_TEST_SEED, else the default. Print it with
// SCOPED_TRACE(SeedTrace(seed)).
uint64_t TestSeed(uint64_t otherwise);
std::string SeedTrace(uint64_t seed);

// Keeps the last durable record. Can be told to crash at the n-th Save from now, before or after it
// became durable; it then refuses all until Reboot().
class MemoryJournal : public SlotJournal {
 public:
  absl::Status Save(SlotId slot, SlotState state, ByteView record) override;
  absl::StatusOr<std::vector<SignedCohort>> SignedCohorts(
      const std::optional<Digest>& model) override;
  absl::Status KeepCohort(const SignedCohort& cohort) override;
  void CrashAt(int saves_from_now, bool durable);
  bool crashed() const { return crashed_; }
  void Reboot() { crashed_ = false; }
  const std::optional<Bytes>& durable() const { return durable_; }
  std::vector<SlotState> states;  // of all durable saves
  std::vector<SignedCohort> cohorts;

 private:
  std::optional<Bytes> durable_;
  int crash_in_ = -1;
  bool crash_durable_ = false, crashed_ = false;
};

enum class Step : uint8_t {
  kPreKeys,
  kShares,
  kReceipt,
  kReady,
  kCommit,
  kUpload,
  kSurvivors,
  kAnswer,
  kNever
};
const char* NameOf(Step step);

struct FederationOptions {
  uint32_t sites = 4;
  uint64_t seed = 1;
  const CryptoSuite* suite = &CheapSuite();
  kernels::MaskCipher cipher = kernels::MaskCipher::kAes256Ctr;
  Aead aead = Aead::kAes256Gcm;
  SiteFloors floors{};
  uint32_t cohort_min = 3;
  SlotId slot{7};
  RunId run{1, 2, 3};
  std::vector<kernels::Segment> segments{};  // empty: one for each width of lane
};

struct TestSite {
  SiteIdentity identity;
  std::unique_ptr<TestRandom> random;
  MemoryJournal journal;
  std::optional<SiteSlot> slot;
  Step drops_at = Step::kNever;              // does not take this step, nor any later one
  std::vector<std::vector<int64_t>> values;  // by segment
  Bytes upload;                              // the packed masked vector, durable
};

class Federation {
 public:
  explicit Federation(const FederationOptions& options);

  // Steps, in order. Each returns the coordinator's verdict; ABORTED (or FAILED_PRECONDITION for
  // too few pre-keys) ends the slot.
  absl::Status PreKeys();
  absl::Status Shares();
  absl::Status Receipts();
  absl::Status ReadyAll();
  absl::Status Commits();
  absl::Status Survivors();
  absl::Status Answers();
  // All steps that come before `step`.
  absl::Status RunUntil(Step step);
  absl::Status RunAll();

  // Sum of the survivors' vectors as the protocol gives it, and as it should be.
  absl::StatusOr<std::vector<std::vector<int64_t>>> Sum() const;
  std::vector<std::vector<int64_t>> ExpectedSum() const;
  absl::StatusOr<std::vector<std::vector<int64_t>>> SumWith(
      const std::vector<MaskStream>& streams) const;

  TestSite& site(uint32_t id) { return *sites_.at(SiteId(id)); }
  std::map<SiteId, std::unique_ptr<TestSite>>& sites() { return sites_; }
  // The site again, from its journal, as after a crash. A slot that was never saved is a new one.
  void Restart(TestSite& site);
  // Asks a site; where it crashes on the way, it is restarted and asked again.
  template <typename Question>
  auto Ask(TestSite& site, Question question) {
    auto answer = question(*site.slot);
    if (!site.journal.crashed()) return answer;
    Restart(site);
    return question(*site.slot);
  }

  Manifest DraftManifest() const;
  const std::vector<kernels::Segment>& segments() const { return options_.segments; }
  kernels::VectorLayout layout() const { return kernels::VectorLayout(options_.segments); }

  FederationOptions options_;
  Roster roster;
  Session session;
  std::optional<CoordinatorSlot> coordinator;
  ManifestExpectation expected;
  // What has been said so far.
  PreKeySet u0;
  Manifest manifest;
  CohortSet u2;
  SurvivorSet u3;
  UnmaskRequest request;

 private:
  std::map<SiteId, std::unique_ptr<TestSite>> sites_;
};

// One segment for each width of lane (1, 2, 4, 8 bytes), wide enough for n sites, of odd lengths.
std::vector<kernels::Segment> AllWidths(uint32_t sites);
// The packed vector of `values` under `streams`, masked in ranges of `range` elements (0: a segment
// at once).
Bytes MaskVector(const std::vector<kernels::Segment>& segments,
                 const std::vector<std::vector<int64_t>>& values,
                 const std::vector<MaskStream>& streams, kernels::MaskCipher cipher,
                 uint64_t range = 0);
Digest RootOf(const kernels::VectorLayout& layout, const Bytes& vector);

}  // namespace atl::secagg

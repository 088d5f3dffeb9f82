#include "tests/bench/secagg_cohort.h"

#include <time.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "comms/base/crypto/sha256.h"
#include "comms/base/status.h"

namespace atl::bench {
namespace {

double Seconds(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Adds what its scope cost this thread.
class Charge {
 public:
  explicit Charge(double& total) : total_(total), start_(ThreadSeconds()) {}
  ~Charge() { total_ += ThreadSeconds() - start_; }

 private:
  double& total_;
  const double start_;
};

}  // namespace

double ThreadSeconds() { return Seconds(CLOCK_THREAD_CPUTIME_ID); }
double ProcessSeconds() { return Seconds(CLOCK_PROCESS_CPUTIME_ID); }

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

absl::StatusOr<std::unique_ptr<Cohort>> Cohort::Create(const CohortOptions& options) {
  std::unique_ptr<Cohort> cohort(new Cohort());
  ATOLL_RETURN_IF_ERROR(cohort->Begin(options));
  return cohort;
}

absl::Status Cohort::Begin(const CohortOptions& options) {
  std::map<SiteId, secagg::RosterEntry> entries;
  for (uint32_t i = 1; i <= options.sites; ++i) {
    auto site = std::make_unique<Site>();
    site->identity.id = SiteId(i);
    site->identity.seed = SystemRandom().Draw32();
    site->identity.suite = &OpensslSuite();
    site->identity.random = &SystemRandom();
    entries[SiteId(i)] = {absl::StrCat("site-", i),
                          OpensslSuite().SigningKeyPair(site->identity.seed).public_key};
    sites_[SiteId(i)] = std::move(site);
  }
  ATOLL_ASSIGN_OR_RETURN(roster_,
                         secagg::Roster::Create(entries, SystemRandom().Draw32(), OpensslSuite()));
  session_.roster = roster_.digest();
  SystemRandom().Fill(session_.run);
  session_.slot = SlotId(1);
  expected_ = {options.model, Sha256::Of(AsBytes("recipe")), RoundId(1)};
  draft_.round = expected_.round;
  draft_.model = expected_.model;
  draft_.recipe = expected_.recipe;
  draft_.segments = options.segments;
  draft_.clip_norm_l2 = options.clip_norm_l2;
  draft_.weight_max = options.weight_max;

  secagg::CoordinatorSlot coordinator(session_, roster_, OpensslSuite());
  for (auto& [id, site] : sites_) {
    site->identity.roster = roster_;
    const Charge charge(site->setup_s);
    ATOLL_ASSIGN_OR_RETURN(site->slot,
                           secagg::SiteSlot::Create(site->identity, session_, site->journal));
    ATOLL_ASSIGN_OR_RETURN(site->pre_keys, site->slot->PreKeys());
  }
  for (auto& [id, site] : sites_) ATOLL_RETURN_IF_ERROR(coordinator.AddPreKeys(site->pre_keys));
  ATOLL_ASSIGN_OR_RETURN(const secagg::PreKeySet u0, coordinator.ClosePreKeys(options.sites));
  for (auto& [id, site] : sites_) {
    const Charge charge(site->setup_s);
    ATOLL_ASSIGN_OR_RETURN(site->bundle, site->slot->DealShares(u0));
  }
  ATOLL_ASSIGN_OR_RETURN(coordinator, Replay(/*until_shares=*/true));
  for (auto& [id, site] : sites_) {
    ATOLL_ASSIGN_OR_RETURN(const secagg::ShareDelivery delivery, coordinator.DeliveryFor(id));
    const Charge charge(site->setup_s);
    ATOLL_ASSIGN_OR_RETURN(site->receipt, site->slot->TakeShares(delivery));
  }
  for (auto& [id, site] : sites_) ATOLL_RETURN_IF_ERROR(coordinator.AddReceipt(site->receipt));
  ATOLL_RETURN_IF_ERROR(coordinator.CloseShares(options.sites).status());
  ATOLL_ASSIGN_OR_RETURN(const secagg::Manifest manifest, coordinator.OpenRound(draft_));
  for (auto& [id, site] : sites_) {
    const Charge charge(site->commit_s);
    ATOLL_ASSIGN_OR_RETURN(site->ready, site->slot->SignReady(manifest, expected_));
  }
  for (auto& [id, site] : sites_) ATOLL_RETURN_IF_ERROR(coordinator.AddReady(site->ready));
  ATOLL_ASSIGN_OR_RETURN(const secagg::CohortSet u2, coordinator.CloseReady(options.sites));
  for (auto& [id, site] : sites_) {
    const Charge charge(site->commit_s);
    ATOLL_ASSIGN_OR_RETURN(site->streams, site->slot->EnterContext(u2));
  }
  return absl::OkStatus();
}

absl::StatusOr<secagg::CoordinatorSlot> Cohort::Replay(bool until_shares) const {
  const auto all = static_cast<uint32_t>(sites_.size());
  secagg::CoordinatorSlot coordinator(session_, roster_, OpensslSuite());
  for (const auto& [id, site] : sites_)
    ATOLL_RETURN_IF_ERROR(coordinator.AddPreKeys(site->pre_keys));
  ATOLL_RETURN_IF_ERROR(coordinator.ClosePreKeys(all).status());
  for (const auto& [id, site] : sites_) ATOLL_RETURN_IF_ERROR(coordinator.AddShares(site->bundle));
  if (until_shares) return coordinator;
  for (const auto& [id, site] : sites_)
    ATOLL_RETURN_IF_ERROR(coordinator.AddReceipt(site->receipt));
  ATOLL_RETURN_IF_ERROR(coordinator.CloseShares(all).status());
  ATOLL_RETURN_IF_ERROR(coordinator.OpenRound(draft_).status());
  for (const auto& [id, site] : sites_) ATOLL_RETURN_IF_ERROR(coordinator.AddReady(site->ready));
  ATOLL_RETURN_IF_ERROR(coordinator.CloseReady(all).status());
  return coordinator;
}

absl::Status Cohort::Commit(SiteId id, uint64_t bytes, const Digest& root) {
  Site& site = *sites_.at(id);
  const Charge charge(site.commit_s);
  ATOLL_ASSIGN_OR_RETURN(site.commit, site.slot->SignCommit(bytes, root));
  return absl::OkStatus();
}

absl::StatusOr<Cohort::Unmasked> Cohort::Unmask(uint32_t dropped) {
  ATOLL_ASSIGN_OR_RETURN(secagg::CoordinatorSlot coordinator, Replay(/*until_shares=*/false));
  struct Copy {
    Journal journal;
    std::optional<secagg::SiteSlot> slot;
  };
  std::map<SiteId, Copy> copies;
  for (auto& [id, site] : sites_) {
    ATOLL_RETURN_IF_ERROR(coordinator.AddCommit(site->commit));
    if (id.value() <= dropped) continue;
    ATOLL_RETURN_IF_ERROR(coordinator.AddUploaded(id));
    Copy& copy = copies[id];
    ATOLL_ASSIGN_OR_RETURN(
        copy.slot, secagg::SiteSlot::Restore(site->identity, site->journal.record, copy.journal));
  }
  ATOLL_ASSIGN_OR_RETURN(const secagg::SurvivorSet u3, coordinator.CloseUploads(0));
  for (auto& [id, copy] : copies) {
    Site& site = *sites_.at(id);
    site.unmask_s = 0;
    const double start = ThreadSeconds();
    ATOLL_ASSIGN_OR_RETURN(const auto signature, copy.slot->SignSurvivors(u3));
    site.unmask_s += ThreadSeconds() - start;
    ATOLL_RETURN_IF_ERROR(coordinator.AddSurvivorSignature(signature));
  }
  ATOLL_ASSIGN_OR_RETURN(const secagg::UnmaskRequest request, coordinator.CloseSurvivors());
  for (auto& [id, copy] : copies) {
    Site& site = *sites_.at(id);
    const double start = ThreadSeconds();
    ATOLL_ASSIGN_OR_RETURN(const auto answer, copy.slot->Unmask(request));
    site.unmask_s += ThreadSeconds() - start;
    ATOLL_RETURN_IF_ERROR(coordinator.AddAnswer(answer));
  }
  Unmasked unmasked;
  unmasked.survivors = coordinator.u3();
  const double start = ThreadSeconds();
  ATOLL_ASSIGN_OR_RETURN(unmasked.streams, coordinator.StreamsToRemove());
  unmasked.core_s = ThreadSeconds() - start;
  return unmasked;
}

double Cohort::MedianOf(double Site::*cost) const {
  std::vector<double> values;
  for (const auto& [id, site] : sites_) values.push_back((*site).*cost);
  return Median(std::move(values));
}

}  // namespace atl::bench

// The real protocol among sites and a coordinator in one process, for what a benchmark needs of it:
// every site's stream keys, what the coordinator takes off the sum, and what each step costs.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "federation/secagg/coordinator_slot.h"
#include "federation/secagg/site_slot.h"

namespace atl::bench {

// Core-seconds of the calling thread.
double ThreadSeconds();
// Core-seconds of all threads of this process.
double ProcessSeconds();
double Median(std::vector<double> values);

struct CohortOptions {
  uint32_t sites = 0;  // 3..secagg::kMaxSites; their ids are 1..sites
  std::vector<kernels::Segment> segments;
  Digest model{};
  double clip_norm_l2 = 1;
  uint64_t weight_max = 1;
};

// Sites under OpenSSL's suite whose journals are memory. From E1 to U2 on creation.
class Cohort {
 public:
  static absl::StatusOr<std::unique_ptr<Cohort>> Create(const CohortOptions& options);

  SlotId slot() const { return session_.slot; }
  const std::vector<secagg::MaskStream>& streams(SiteId site) const {
    return sites_.at(site)->streams;
  }
  // R2 of one site.
  absl::Status Commit(SiteId site, uint64_t bytes, const Digest& root);

  struct Unmasked {
    std::vector<SiteId> survivors;
    std::vector<secagg::MaskStream> streams;  // to add to the sum
    double core_s = 0;  // of the coordinator: secrets from shares, checked, and stream keys
  };
  // R3 and R4 where the first `dropped` sites are gone after R2 began. Sites are asked in a copy of
  // their state after R2, so that several cases can be played.
  absl::StatusOr<Unmasked> Unmask(uint32_t dropped);

  // Core-seconds of one site, the median over sites: keys and shares, which come before the round;
  // ready, context and commit, which come before its vector is sent; survivors and unmask.
  double SetupSeconds() const { return MedianOf(&Site::setup_s); }
  double CommitSeconds() const { return MedianOf(&Site::commit_s); }
  double UnmaskSeconds() const { return MedianOf(&Site::unmask_s); }

 private:
  struct Journal : secagg::SlotJournal {
    absl::Status Save(SlotId, secagg::SlotState, ByteView bytes) override {
      record.assign(bytes.begin(), bytes.end());
      return absl::OkStatus();
    }
    absl::StatusOr<std::vector<secagg::SignedCohort>> SignedCohorts(
        const std::optional<Digest>&) override {
      return std::vector<secagg::SignedCohort>();
    }
    absl::Status KeepCohort(const secagg::SignedCohort&) override { return absl::OkStatus(); }
    Bytes record;
  };
  struct Site {
    secagg::SiteIdentity identity;
    Journal journal;
    std::optional<secagg::SiteSlot> slot;
    std::vector<secagg::MaskStream> streams;
    secagg::PreKeyRecord pre_keys;
    secagg::ShareBundle bundle;
    secagg::ShareReceipt receipt;
    secagg::Ready ready;
    secagg::Commit commit;
    double setup_s = 0, commit_s = 0, unmask_s = 0;
  };

  Cohort() = default;
  absl::Status Begin(const CohortOptions& options);
  // A coordinator that has heard all up to R1; with no receipts yet when `until_shares`.
  absl::StatusOr<secagg::CoordinatorSlot> Replay(bool until_shares) const;
  double MedianOf(double Site::*cost) const;

  secagg::Roster roster_;
  secagg::Session session_;
  std::map<SiteId, std::unique_ptr<Site>> sites_;
  secagg::Manifest draft_;
  secagg::ManifestExpectation expected_;
};

}  // namespace atl::bench

// A run's sites and its coordinator while they are split into groups. Tests let it come to a step
// and then say to the sites what they like.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "federation/secagg/coordinator_split.h"
#include "federation/secagg/site_split.h"
#include "tests/secagg/harness.h"

namespace atl::secagg {

// Keeps the last record; refuses to, while `broken`.
class MemorySplitJournal : public SplitJournal {
 public:
  absl::Status SaveSplit(ByteView record) override {
    if (broken) return absl::UnavailableError("the site is down");
    durable.assign(record.begin(), record.end());
    return absl::OkStatus();
  }
  Bytes durable;
  bool broken = false;
};

struct SplitSite {
  SiteIdentity identity;
  std::unique_ptr<TestRandom> random;
  MemorySplitJournal journal;
  std::optional<SiteSplit> split;
};

class SplitFederation {
 public:
  SplitFederation(uint32_t count, const GroupTerms& terms, uint64_t seed = 1) : terms(terms) {
    TestRandom setup(seed);
    const Secret32 operator_seed = setup.Draw32();
    std::map<SiteId, RosterEntry> entries;
    for (uint32_t i = 0; i < count; ++i) {
      const SiteId id(2 + 3 * i);  // ids are not ranks
      auto site = std::make_unique<SplitSite>();
      site->identity.id = id;
      site->identity.seed = setup.Draw32();
      site->identity.suite = &CheapSuite();
      site->random = std::make_unique<TestRandom>(seed * 100'000 + id.value());
      site->identity.random = site->random.get();
      entries[id] = {"site", CheapSuite().SigningKeyPair(site->identity.seed).public_key};
      sites[id] = std::move(site);
    }
    roster = Roster::Create(entries, operator_seed, CheapSuite()).value();
    session.roster = roster.digest();
    session.run = {5, 6, 7};
    for (auto& [id, site] : sites) {
      site->identity.roster = roster;
      Restart(*site);
    }
  }

  // From its journal, as after a crash.
  void Restart(SplitSite& site) {
    site.split.reset();
    site.split.emplace(
        SiteSplit::Open(site.identity, session.run, terms, site.journal.durable, site.journal)
            .value());
  }
  CoordinatorSplit Coordinator(uint32_t attempt) const {
    return CoordinatorSplit(session, roster, CheapSuite(), terms, attempt);
  }

  // The steps of one attempt, with all sites.
  GroupCommitSet Commits(uint32_t attempt) {
    coordinator.emplace(Coordinator(attempt));
    for (auto& [id, site] : sites)
      EXPECT_TRUE(coordinator->AddCommit(site->split->Commit({attempt}).value()).ok());
    return commits = coordinator->CloseCommits().value();
  }
  GroupSignatureSet Signatures(uint32_t attempt) {
    Commits(attempt);
    for (auto& [id, site] : sites)
      EXPECT_TRUE(coordinator->AddSignature(site->split->Sign(commits).value()).ok());
    return signatures = coordinator->CloseSignatures().value();
  }
  GroupRevealSet Reveals(uint32_t attempt) {
    Signatures(attempt);
    for (auto& [id, site] : sites)
      EXPECT_TRUE(coordinator->AddReveal(site->split->Reveal(signatures).value()).ok());
    return reveals = coordinator->CloseReveals().value();
  }
  void Assign(uint32_t attempt) {
    Reveals(attempt);
    for (auto& [id, site] : sites) EXPECT_TRUE(site->split->Assign(reveals).ok());
  }

  SiteSplit& split(uint32_t rank) { return *std::next(sites.begin(), rank)->second->split; }
  SplitSite& site(uint32_t rank) { return *std::next(sites.begin(), rank)->second; }

  GroupTerms terms;
  Roster roster;
  Session session;
  std::map<SiteId, std::unique_ptr<SplitSite>> sites;
  std::optional<CoordinatorSplit> coordinator;
  GroupCommitSet commits;
  GroupSignatureSet signatures;
  GroupRevealSet reveals;
};

}  // namespace atl::secagg

#include "federation/scheduler/scheduler.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <set>

#include "comms/base/random.h"
#include "gmock/gmock.h"

namespace atl::scheduler {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Offer Site(uint32_t id, double cpus = 2, double memory_gb = 4, bool connected = true) {
  return {SiteId(id), connected, cpus, memory_gb};
}

WaitingJob Job(uint64_t id, uint32_t sites, double cpus = 2, double memory_gb = 4) {
  return {JobId(id), id, sites, std::min(sites, 3u), cpus, memory_gb};
}

RunningJob Running(uint64_t id, std::vector<SiteId> sites, double cpus = 2, double memory_gb = 4) {
  return {JobId(id), std::move(sites), cpus, memory_gb};
}

std::vector<uint64_t> Placed(const Decision& decision) {
  std::vector<uint64_t> jobs;
  for (const Placement& placement : decision.placements) jobs.push_back(placement.job.value());
  return jobs;
}

std::vector<uint32_t> SitesOf(const Decision& decision, uint64_t job) {
  std::vector<uint32_t> sites;
  for (const Placement& placement : decision.placements) {
    if (placement.job != JobId(job)) continue;
    for (SiteId site : placement.sites) sites.push_back(site.value());
  }
  return sites;
}

std::string Reason(const Decision& decision, uint64_t job) {
  for (const WaitReason& reason : decision.waiting) {
    if (reason.job == JobId(job)) return reason.text;
  }
  return "";
}

TEST(Schedule, NothingToDo) {
  const Decision decision = Schedule({});
  EXPECT_THAT(decision.placements, IsEmpty());
  EXPECT_THAT(decision.waiting, IsEmpty());
}

TEST(Schedule, StartsWhenAsManySitesFit) {
  State state;
  state.waiting = {Job(1, 4)};
  state.offers = {Site(1), Site(2), Site(3)};
  EXPECT_THAT(Placed(Schedule(state)), IsEmpty());
  state.offers.push_back(Site(9));
  EXPECT_THAT(SitesOf(Schedule(state), 1), ElementsAre(1, 2, 3, 9));
  EXPECT_THAT(Schedule(state).waiting, IsEmpty());
}

TEST(Schedule, SaysWhatIsMissing) {
  State state;
  state.waiting = {Job(1, 4)};
  EXPECT_EQ(Reason(Schedule(state), 1), "waits for 4 sites with 2 cpus and 4 GB: none connected");
  state.offers = {Site(1), Site(2, 1, 4)};
  EXPECT_EQ(Reason(Schedule(state), 1),
            "waits for 4 sites with 2 cpus and 4 GB: 2 connected, 1 too small");
  state.offers = {Site(1), Site(2, 2, 3.5), Site(3), Site(4), Site(5, 8, 8, false)};
  state.running = {Running(8, {SiteId(3)}, 1, 1)};
  EXPECT_EQ(Reason(Schedule(state), 1),
            "waits for 4 sites with 2 cpus and 4 GB: 4 connected, 1 too small, 1 busy, 1 away");
  state.waiting = {Job(1, 1, 1, 0.5)};
  state.offers = {};
  EXPECT_EQ(Reason(Schedule(state), 1), "waits for 1 site with 1 cpu and 0.5 GB: none connected");
}

TEST(Schedule, DisconnectedAndBusySitesDoNotCount) {
  State state;
  state.waiting = {Job(5, 2)};
  state.offers = {Site(1), Site(2, 4, 8, false), Site(3, 3, 8)};
  state.running = {Running(1, {SiteId(3)})};
  EXPECT_THAT(Placed(Schedule(state)), IsEmpty());
  // Four cpus are enough for both jobs, six gigabytes are not.
  state.offers[2] = Site(3, 4, 6);
  EXPECT_THAT(Placed(Schedule(state)), IsEmpty());
  state.offers[2] = Site(3, 4, 8);
  EXPECT_THAT(SitesOf(Schedule(state), 5), ElementsAre(1, 3));
}

TEST(Schedule, FractionsOfACpuAddUp) {
  State state;
  state.offers = {Site(1, 0.3, 1)};
  state.running = {Running(1, {SiteId(1)}, 0.1, 0), Running(2, {SiteId(1)}, 0.1, 0)};
  state.waiting = {Job(3, 1, 0.1, 1)};
  EXPECT_THAT(Placed(Schedule(state)), ElementsAre(3));  // 0.3 - 0.1 - 0.1 < 0.1 in binary
}

TEST(Schedule, OrderOfSubmission) {
  State state;
  state.offers = {Site(1), Site(2)};
  state.waiting = {Job(1, 2), Job(2, 2), Job(3, 2)};
  state.waiting[0].order = 30;
  state.waiting[1].order = 20;
  state.waiting[2].order = 10;
  const Decision decision = Schedule(state);
  EXPECT_THAT(Placed(decision), ElementsAre(3));
  ASSERT_THAT(decision.waiting, SizeIs(2));
  EXPECT_EQ(decision.waiting[0].job, JobId(2));
  EXPECT_EQ(decision.waiting[1].job, JobId(1));
}

TEST(Schedule, ALaterJobDoesNotTakeSitesThatAnEarlierOneWaitsFor) {
  State state;
  state.offers = {Site(1), Site(2), Site(3)};
  state.waiting = {Job(1, 4), Job(2, 1)};
  const Decision decision = Schedule(state);
  EXPECT_THAT(Placed(decision), IsEmpty());
  EXPECT_EQ(Reason(decision, 2),
            "waits for 1 site with 2 cpus and 4 GB: 3 connected, 3 kept for job 1");
}

// Also one that is busy now: it comes free for the earlier job, not for whoever nibbles at what is
// left of it.
TEST(Schedule, ABusySiteIsKeptAsWell) {
  State state;
  state.offers = {Site(1, 4, 8)};
  state.running = {Running(1, {SiteId(1)}, 2, 2)};
  state.waiting = {Job(2, 1, 4, 4), Job(3, 1, 2, 2)};
  EXPECT_THAT(Placed(Schedule(state)), IsEmpty());
  EXPECT_THAT(Reason(Schedule(state), 2), HasSubstr("1 connected, 1 busy"));
  EXPECT_THAT(Reason(Schedule(state), 3), HasSubstr("1 kept for job 2"));
  state.running.clear();
  EXPECT_THAT(Placed(Schedule(state)), ElementsAre(2));
}

TEST(Schedule, ALaterJobStartsOnSitesThatNoEarlierOneCouldUse) {
  State state;
  state.offers = {Site(1, 1, 2), Site(2, 1, 2), Site(3, 8, 16)};
  state.waiting = {Job(1, 2, 8, 16), Job(2, 2, 1, 2), Job(3, 1, 1, 2)};
  const Decision decision = Schedule(state);
  EXPECT_THAT(Placed(decision), ElementsAre(2));
  EXPECT_THAT(SitesOf(decision, 2), ElementsAre(1, 2));
  EXPECT_EQ(Reason(decision, 3),
            "waits for 1 site with 1 cpu and 2 GB: 3 connected, 2 busy, 1 kept for job 1");
}

TEST(Schedule, PrefersIdleThenSmallThenLow) {
  State state;
  state.offers = {Site(4, 8, 8), Site(3, 4, 8), Site(2, 4, 8), Site(1, 4, 4)};
  state.running = {Running(9, {SiteId(1)}, 1, 1)};
  state.waiting = {Job(10, 1, 1, 1)};
  EXPECT_THAT(SitesOf(Schedule(state), 10), ElementsAre(2));
  state.waiting = {Job(10, 3, 1, 1)};
  EXPECT_THAT(SitesOf(Schedule(state), 10), ElementsAre(2, 3, 4));
  state.running.clear();
  state.waiting = {Job(10, 2, 1, 1)};
  EXPECT_THAT(SitesOf(Schedule(state), 10), ElementsAre(1, 2));
}

TEST(Schedule, SeveralJobsStartAtOnce) {
  State state;
  state.offers = {Site(1), Site(2), Site(3), Site(4)};
  state.waiting = {Job(1, 2), Job(2, 1), Job(3, 1), Job(4, 1)};
  const Decision decision = Schedule(state);
  EXPECT_THAT(Placed(decision), ElementsAre(1, 2, 3));
  EXPECT_THAT(Reason(decision, 4), HasSubstr("4 connected, 4 busy"));
}

TEST(Schedule, ImpossibleJobsBlockNobody) {
  State state;
  state.offers = {Site(1), Site(2)};
  state.waiting = {Job(1, 2), Job(2, 0), Job(3, 2)};
  state.waiting[0].cohort_min = 3;
  const Decision decision = Schedule(state);
  EXPECT_THAT(Placed(decision), ElementsAre(3));
  EXPECT_EQ(Reason(decision, 1), "can never start: it asks for 2 sites and a cohort of at least 3");
  EXPECT_THAT(Reason(decision, 2), HasSubstr("0 sites"));
}

// Random states: the promises of the header, checked one by one.
TEST(Schedule, Properties) {
  const char* const given = std::getenv("ATOLL_TEST_SEED");
  uint64_t seed = 0;
  if (given != nullptr) {
    seed = std::strtoull(given, nullptr, 10);
  } else {
    SystemRandom().Fill({reinterpret_cast<uint8_t*>(&seed), sizeof(seed)});
  }
  std::cout << "seed " << seed << "; replay with ATOLL_TEST_SEED=" << seed << "\n";
  SeededRandom random({.seed = seed, .label = "scheduler"});
  size_t placements = 0, backfilled = 0, waits = 0;
  for (int round = 0; round < 3000; ++round) {
    State state;
    const uint32_t sites = static_cast<uint32_t>(random.Below(7));
    for (uint32_t i = 1; i <= sites; ++i) {
      state.offers.push_back(Site(i, static_cast<double>(1 + random.Below(8)),
                                  static_cast<double>(1 + random.Below(8)), random.Below(5) != 0));
    }
    std::map<SiteId, std::pair<double, double>> free;
    std::map<SiteId, Offer> offers;
    for (const Offer& offer : state.offers) {
      free[offer.site] = {offer.cpus, offer.memory_gb};
      offers[offer.site] = offer;
    }
    const uint64_t running = random.Below(3), waiting = random.Below(6);
    for (uint64_t id = 100; id < 100 + running; ++id) {
      RunningJob job = Running(id, {}, 1, 1);
      for (const Offer& offer : state.offers) {
        if (random.Below(3) == 0) job.sites.push_back(offer.site);
      }
      for (SiteId site : job.sites) {
        free[site].first -= 1;
        free[site].second -= 1;
      }
      state.running.push_back(job);
    }
    for (uint64_t id = 1; id <= waiting; ++id) {
      state.waiting.push_back(Job(id, static_cast<uint32_t>(1 + random.Below(4)),
                                  static_cast<double>(1 + random.Below(8)),
                                  static_cast<double>(1 + random.Below(4))));
    }
    const Decision decision = Schedule(state);

    // Every job is answered once.
    std::multiset<JobId> answered;
    for (const Placement& p : decision.placements) answered.insert(p.job);
    for (const WaitReason& w : decision.waiting) answered.insert(w.job);
    ASSERT_EQ(answered.size(), state.waiting.size()) << "round " << round;
    for (const WaitingJob& job : state.waiting) ASSERT_EQ(answered.count(job.job), 1u);

    std::vector<const WaitingJob*> stuck;  // in order of submission
    for (const WaitingJob& job : state.waiting) {
      const auto placed = std::find_if(decision.placements.begin(), decision.placements.end(),
                                       [&](const Placement& p) { return p.job == job.job; });
      const auto could_use = [](const WaitingJob& wants, const Offer& offer) {
        return offer.connected && wants.cpus <= offer.cpus && wants.memory_gb <= offer.memory_gb;
      };
      const auto kept = [&](const Offer& offer) {
        return std::any_of(stuck.begin(), stuck.end(),
                           [&](const WaitingJob* s) { return could_use(*s, offer); });
      };
      if (placed == decision.placements.end()) {
        // It really could not start.
        size_t fitting = 0;
        for (const Offer& offer : state.offers) {
          fitting += could_use(job, offer) && !kept(offer) && job.cpus <= free[offer.site].first &&
                     job.memory_gb <= free[offer.site].second;
        }
        ASSERT_LT(fitting, job.sites) << "round " << round << ", job " << job.job;
        stuck.push_back(&job);
        ++waits;
        continue;
      }
      ++placements;
      backfilled += !stuck.empty();
      ASSERT_EQ(placed->sites.size(), job.sites);
      ASSERT_TRUE(std::is_sorted(placed->sites.begin(), placed->sites.end()));
      ASSERT_EQ(std::set<SiteId>(placed->sites.begin(), placed->sites.end()).size(), job.sites);
      for (SiteId site : placed->sites) {
        ASSERT_TRUE(could_use(job, offers.at(site)));
        ASSERT_FALSE(kept(offers.at(site))) << "round " << round << ", job " << job.job;
        free[site].first -= job.cpus;
        free[site].second -= job.memory_gb;
        ASSERT_GE(free[site].first, 0) << "round " << round << ", site " << site;
        ASSERT_GE(free[site].second, 0) << "round " << round << ", site " << site;
      }
    }
  }
  // The states were such that all of this was put to the test.
  EXPECT_GT(placements, 500u);
  EXPECT_GT(backfilled, 50u);
  EXPECT_GT(waits, 500u);
}

}  // namespace
}  // namespace atl::scheduler

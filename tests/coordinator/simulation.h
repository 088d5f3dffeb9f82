// A whole federation in one process: the real Core, sites made of secagg::SiteSlot, a network that
// reorders between sites and repeats, a simulated clock. No trainer: a site's update is a known
// vector, so that sums can be checked.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "comms/base/clock.h"
#include "comms/base/random.h"
#include "federation/coordinator/core.h"
#include "federation/secagg/site_slot.h"
#include "recipes/schema/recipe.h"

namespace atl::coordinator {

struct SimulationOptions {
  uint32_t sites = 4;
  uint64_t seed = 1;
  bool masked = true;
  int rounds = 3;
  int cohort_min = 3;
  int slots_ahead = 2;
  bool evaluate = false;
  double repeat = 0;                // how often a message comes twice
  secagg::CohortRule cohorts = {};  // of the sites' own files
  int group_size_max = 255, corrupt_sites_max = 0;
};

// Where a site does something else than its duty. Asked before it handles a message (or, with step
// RESULT and below, is told a step); returns what becomes of it.
enum class Fate { kAnswer, kIgnore, kDie, kAnswerAndDie };
using Director = std::function<Fate(SiteId site, const v1::CoordinatorMessage& message)>;

class Simulation {
 public:
  explicit Simulation(const SimulationOptions& options);
  ~Simulation();

  recipes::Recipe& recipe() { return recipe_; }  // to change before Submit
  void ConnectAll();
  void Connect(SiteId site);
  void Kill(SiteId site);  // its stream closes; its slots are kept
  JobId Submit();
  // Steps events and time until the job has ended, `until` says so, or limit_ms of simulated time
  // have gone by.
  void Run(const std::function<bool()>& until = nullptr, int64_t limit_ms = 3'600'000);
  // To the end, while sites die: at `percent` of messages, half of them unanswered. Each is back
  // within away_ms_max of simulated time.
  void RunWhileSitesDie(SeededRandom& random, uint64_t percent, uint64_t away_ms_max);
  void Post(Event event) { inbox_.push_back(std::move(event)); }
  // The coordinator is killed: a new one folds the log, all streams are closed.
  void RestartCoordinator();
  // A core that folded the log so far; its reports must be those of the living one.
  std::unique_ptr<Core> Folded() const;

  Core& core() { return *core_; }
  v1::JobReport report() const { return core_->Report(job_).value(); }
  int64_t now_ms() { return clock_.NowMs(); }
  const std::vector<std::string>& notes() const { return notes_; }
  const std::vector<v1::JobReport>& statuses() const { return statuses_; }
  const std::vector<std::string>& wrong_sums() const { return wrong_sums_; }
  uint32_t sums() const { return sums_; }
  // Slots whose revealed secrets are kept beside the log; and whose vectors are staged.
  size_t kept_slots() const { return kept_secrets_.size(); }
  size_t staged() const { return vectors_.size(); }
  // What went to sites, by kind.
  const std::map<std::string, int>& sent() const { return sent_; }

  // What a round's sum gives as strategy::NextRange, where the recipe asks for it.
  static double NextRangeOf(RoundId round) { return 0.25 * round.value(); }

  Director director;                       // null: all answer
  std::map<SiteId, std::string> refusals;  // who refuses the job, and why

 private:
  struct Site;
  struct Link {
    std::deque<v1::CoordinatorMessage> down;
    std::deque<Event> up;
  };

  void Step(const Event& event);
  void Carry(Effects effects);
  void Sum(const StartSum& task);
  void CheckEarly(const StartSum& task);
  bool DeliverOne();  // false: nothing is on its way
  void Receive(Site& site, const v1::CoordinatorMessage& message);
  void Answer(Site& site, const v1::SecAgg& step);
  void AnswerSplit(Site& site, const v1::SecAgg& step);
  void Say(Site& site, v1::SiteMessage message);
  void SayStep(Site& site, SlotId slot, uint32_t round, v1::Step step, Bytes payload);
  void CommitTo(Site& site, const secagg::Manifest& manifest,
                std::vector<secagg::MaskStream> streams);
  std::vector<int64_t> Update(SiteId site, uint32_t round, size_t segment, uint64_t length) const;

  SimulationOptions options_;
  SeededRandom random_;
  SimulatedClock clock_;
  recipes::Recipe recipe_;
  std::unique_ptr<secagg::Roster> roster_;
  Environment environment_;
  std::unique_ptr<Core> core_;
  std::vector<Bytes> log_;
  std::map<SiteId, std::unique_ptr<Site>> sites_;
  std::map<SiteId, Link> links_;
  std::deque<Event> inbox_;
  std::map<store::VectorId, Bytes> vectors_;
  std::map<SlotId, std::vector<secagg::RevealedSecret>> kept_secrets_;
  std::set<store::VectorId> allowed_;
  // Whose vectors may have been added up early, by round, slot and group; a coordinator's own.
  std::map<std::tuple<RoundId, SlotId, uint32_t>, std::set<SiteId>> early_;
  bool evaluator_ = false;
  JobId job_{1};
  std::string yaml_;
  std::vector<std::string> notes_, wrong_sums_;
  std::vector<v1::JobReport> statuses_;
  std::map<std::string, int> sent_;
  std::set<std::pair<uint64_t, uint64_t>> summed_slots_;
  uint32_t sums_ = 0;
};

// Of a job's report, what the log says: not the bytes of answers that it leaves out, nor downloads.
std::string Comparable(const Core& core, JobId job);

// ATOLL_TEST_SEED, else `otherwise`.
uint64_t TestSeed(uint64_t otherwise);

}  // namespace atl::coordinator

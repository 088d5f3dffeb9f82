#include "federation/scheduler/scheduler.h"

#include <algorithm>
#include <set>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace atl::scheduler {
namespace {

// A connected site as this pass sees it.
struct Candidate {
  const Offer* offer = nullptr;
  double free_cpus = 0;
  double free_memory_gb = 0;
  int running = 0;                       // jobs that hold some of it
  const WaitingJob* kept_for = nullptr;  // the first waiting job that could use it
};

// Sums of decimal fractions (0.1 + 0.2) must not make a site look full.
constexpr double kSlack = 1e-9;

bool Fits(double need_cpus, double need_memory_gb, double cpus, double memory_gb) {
  return need_cpus <= cpus + kSlack && need_memory_gb <= memory_gb + kSlack;
}

std::vector<Candidate> Candidates(const State& state) {
  std::vector<Candidate> candidates;
  for (const Offer& offer : state.offers) {
    if (!offer.connected) continue;
    Candidate candidate{&offer, offer.cpus, offer.memory_gb, 0, nullptr};
    for (const RunningJob& job : state.running) {
      if (std::find(job.sites.begin(), job.sites.end(), offer.site) == job.sites.end()) continue;
      candidate.free_cpus -= job.cpus;
      candidate.free_memory_gb -= job.memory_gb;
      ++candidate.running;
    }
    candidates.push_back(candidate);
  }
  return candidates;
}

std::string Sites(uint64_t count) { return absl::StrCat(count, count == 1 ? " site" : " sites"); }

// Why the connected and other sites are not enough for the job.
std::string Explain(const WaitingJob& job, const std::vector<Candidate>& candidates,
                    size_t disconnected) {
  std::string text =
      absl::StrCat("waits for ", Sites(job.sites), " with ", job.cpus,
                   job.cpus == 1 ? " cpu and " : " cpus and ", job.memory_gb, " GB: ");
  uint64_t small = 0, busy = 0;
  std::set<uint64_t> kept;
  uint64_t kept_count = 0;
  for (const Candidate& candidate : candidates) {
    if (!Fits(job.cpus, job.memory_gb, candidate.offer->cpus, candidate.offer->memory_gb)) {
      ++small;
    } else if (candidate.kept_for != nullptr) {
      ++kept_count;
      kept.insert(candidate.kept_for->job.value());
    } else if (!Fits(job.cpus, job.memory_gb, candidate.free_cpus, candidate.free_memory_gb)) {
      ++busy;
    }
  }
  std::vector<std::string> parts;
  parts.push_back(candidates.empty() ? "none connected"
                                     : absl::StrCat(candidates.size(), " connected"));
  if (small > 0) parts.push_back(absl::StrCat(small, " too small"));
  if (busy > 0) parts.push_back(absl::StrCat(busy, " busy"));
  if (kept_count > 0) {
    parts.push_back(absl::StrCat(kept_count, " kept for job ", absl::StrJoin(kept, ", ")));
  }
  if (disconnected > 0) parts.push_back(absl::StrCat(disconnected, " away"));
  return text + absl::StrJoin(parts, ", ");
}

}  // namespace

Decision Schedule(const State& state) {
  std::vector<const WaitingJob*> jobs;
  for (const WaitingJob& job : state.waiting) jobs.push_back(&job);
  std::sort(jobs.begin(), jobs.end(), [](const WaitingJob* a, const WaitingJob* b) {
    return std::tie(a->order, a->job) < std::tie(b->order, b->job);
  });
  std::vector<Candidate> candidates = Candidates(state);
  // The order in which sites are taken.
  const auto before = [](const Candidate* a, const Candidate* b) {
    return std::tie(a->running, a->offer->cpus, a->offer->memory_gb, a->offer->site) <
           std::tie(b->running, b->offer->cpus, b->offer->memory_gb, b->offer->site);
  };

  Decision decision;
  for (const WaitingJob* job : jobs) {
    if (job->sites == 0 || job->cohort_min > job->sites) {
      decision.waiting.push_back(
          {job->job, absl::StrCat("can never start: it asks for ", Sites(job->sites),
                                  " and a cohort of at least ", job->cohort_min)});
      continue;
    }
    std::vector<Candidate*> fitting;
    for (Candidate& candidate : candidates) {
      if (candidate.kept_for == nullptr &&
          Fits(job->cpus, job->memory_gb, candidate.free_cpus, candidate.free_memory_gb)) {
        fitting.push_back(&candidate);
      }
    }
    if (fitting.size() < job->sites) {
      decision.waiting.push_back(
          {job->job, Explain(*job, candidates, state.offers.size() - candidates.size())});
      for (Candidate& candidate : candidates) {
        if (candidate.kept_for == nullptr &&
            Fits(job->cpus, job->memory_gb, candidate.offer->cpus, candidate.offer->memory_gb)) {
          candidate.kept_for = job;
        }
      }
      continue;
    }
    std::sort(fitting.begin(), fitting.end(), before);
    fitting.resize(job->sites);
    Placement placement{job->job, {}};
    for (Candidate* candidate : fitting) {
      placement.sites.push_back(candidate->offer->site);
      candidate->free_cpus -= job->cpus;
      candidate->free_memory_gb -= job->memory_gb;
      ++candidate->running;
    }
    std::sort(placement.sites.begin(), placement.sites.end());
    decision.placements.push_back(std::move(placement));
  }
  return decision;
}

}  // namespace atl::scheduler

// The event loop of a site's agent: connects the coordinator's stream, the jobs and their trainers.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "comms/base/clock.h"
#include "federation/secagg/site_slot.h"
#include "federation/site/control_stream.h"
#include "federation/site/event_queue.h"
#include "federation/site/job.h"
#include "federation/site/launcher.h"
#include "federation/site/runtime_folder.h"
#include "federation/site/site_main.h"

namespace atl::site {

// Created, run and destroyed by one thread, which also starts the trainers; only RequestStop is for
// any thread. An agent runs once.
class Agent : private ControlEvents {
 public:
  // Reads identity and roster, opens the data folder, sweeps what a former life left in it. Errors
  // are one clear line each. `launcher` and `clock` outlive the agent.
  static absl::StatusOr<std::unique_ptr<Agent>> Create(const SiteOptions& options,
                                                       Launcher& launcher, Clock& clock);
  ~Agent() override;

  // Serves until RequestStop (OK) or until the coordinator is not one to serve (its status). The
  // trainers are stopped before it returns.
  absl::Status Run();
  // Thread-safe.
  void RequestStop() { queue_.Close(); }

  static constexpr size_t kMaxEvaluations = 8;  // jobs that an evaluator keeps warm at a time

 private:
  Agent(SiteOptions options, Launcher& launcher, Clock& clock);
  absl::Status Open();
  absl::StatusOr<v1::Hello> MakeHello(const v1::Challenge& challenge) const;

  void OnWelcome() override;
  void OnMessage(const v1::CoordinatorMessage& message) override;
  void OnDisconnected(const absl::Status& why) override;
  void OnRefused(const absl::Status& why) override;

  void OnOffer(const v1::JobOffer& offer);
  absl::StatusOr<std::unique_ptr<Job>> Accept(const v1::JobOffer& offer);
  void Decide(uint64_t job, const absl::Status& status);
  void OnJobEnded(const v1::JobEnded& message);
  void EndJob(uint64_t job);
  Job* Find(uint64_t job);

  const SiteOptions options_;
  Clock& clock_;
  EventQueue queue_;
  std::optional<RuntimeFolder> sockets_;
  std::optional<secagg::SiteIdentity> identity_;
  Digest roster_digest_{};
  std::unique_ptr<store::SiteStore> store_;
  std::unique_ptr<store::VectorStore> vectors_;
  std::optional<store::FileLock> lock_;  // an evaluator's, which has no store
  std::optional<store::BlobStore> blobs_;
  Services services_;
  std::map<uint64_t, std::unique_ptr<Job>> jobs_;
  absl::Status refused_;
  std::unique_ptr<ControlStream> control_;  // goes first
};

}  // namespace atl::site

// What a job's part at a site looks like to the agent, and what it may use of the agent.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "comms/base/clock.h"
#include "comms/rpc/atoll.grpc.pb.h"
#include "federation/secagg/site_slot.h"
#include "federation/site/event_queue.h"
#include "federation/site/launcher.h"
#include "federation/site/offer.h"
#include "federation/site/trainer_host.h"
#include "federation/store/blob_store.h"
#include "federation/store/site_store.h"
#include "federation/store/vector_store.h"

namespace atl::site {

// The agent's parts that its jobs share; all outlive them. `identity`, `store` and `vectors` are
// null for an evaluator.
struct Services {
  const secagg::SiteIdentity* identity = nullptr;
  store::SiteStore* store = nullptr;
  store::VectorStore* vectors = nullptr;
  const store::BlobStore* blobs = nullptr;
  std::shared_ptr<grpc::Channel> channel;
  EventQueue* queue = nullptr;
  Clock* clock = nullptr;
  Launcher* launcher = nullptr;
  // To the coordinator; of no effect while there is no connection.
  std::function<void(v1::SiteMessage)> send, send_progress;

  std::filesystem::path trainer, socket_folder, jobs_folder, log_folder;
  double cpus = 1;
  int relaunch_limit = 3;
  uint32_t spot_check_chunks = 8;
  int trainer_start_timeout_ms = 60'000;
};

// One job, from the accepted offer to its end. All on the event loop's thread.
class Job {
 public:
  virtual ~Job() = default;
  virtual const Offer& offer() const = 0;
  // Once, after the coordinator was told that the job is accepted.
  virtual void Start() = 0;
  // The coordinator has connected again and knows only what it wrote down: says again what it may
  // have missed.
  virtual void OnReconnected() = 0;
  virtual void OnSecAgg(const v1::SecAgg& message) = 0;
  virtual void OnEvaluate(const v1::StartEvaluation& message) = 0;
  virtual void OnRoundAborted(const v1::RoundAborted& message) = 0;
  // A few times a second.
  virtual void Tick() = 0;
  // Ends the trainer within about grace_ms. What the job keeps on disk stays, for the next life.
  virtual void Stop(int grace_ms) = 0;
  // After Stop: the coordinator has ended the job, so nothing of it stays.
  virtual void Forget() = 0;
};

// Options of the trainer of a job.
TrainerOptions TrainerOptionsFor(const Services& services, const Offer& offer, uint32_t ranks);
sitelink::Setup SetupFor(const Offer& offer);

// A text for the coordinator, whoever wrote it: at most kMaxReasonBytes, valid UTF-8, no control
// characters but line ends. (A protobuf string that is not UTF-8 breaks the stream it is sent on.)
std::string ForWire(std::string text);
inline constexpr size_t kMaxReasonBytes = 1000;

// Sends SiteProgress, at most five times a second but for a change of phase.
class ProgressReporter {
 public:
  ProgressReporter(const Services& services, JobId job) : services_(services), job_(job) {}
  void Report(uint32_t round, const std::string& phase, uint32_t step = 0, uint32_t steps = 0,
              double examples_per_s = 0);
  // Said with every report of this round from now on.
  void SetMaskTimes(uint32_t round, double hidden_s, double paid_s);

 private:
  const Services& services_;
  const JobId job_;
  std::string phase_;
  int64_t last_ms_ = 0;
  uint32_t masked_round_ = 0;
  double mask_hidden_s_ = 0, mask_paid_s_ = 0;
};

}  // namespace atl::site

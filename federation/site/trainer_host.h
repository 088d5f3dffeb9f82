// Keeps one job's trainer alive and talks to it.
#pragma once

#include <filesystem>
#include <memory>
#include <set>
#include <string>

#include "comms/base/clock.h"
#include "comms/sitelink/link.h"
#include "comms/sitelink/messages.h"
#include "federation/site/event_queue.h"
#include "federation/site/launcher.h"
#include "federation/site/trainer_session.h"
#include "federation/store/blob_store.h"

namespace atl::site {

struct TrainerOptions {
  std::filesystem::path program;
  uint32_t ranks = 1;
  uint32_t threads_per_rank = 1;
  std::filesystem::path socket_folder;  // short and private
  std::string socket_name;              // a name in it; launches append their number
  std::filesystem::path work_folder;    // of the job
  std::filesystem::path log_file;
  int relaunch_limit = 3;  // a job
  int start_timeout_ms = 60'000;
  int progress_timeout_ms = 120'000;  // of a trainer that has something to do
};

// What a trainer does, told on the event loop's thread.
class TrainerEvents {
 public:
  virtual ~TrainerEvents() = default;
  virtual void OnTrainerReady(const sitelink::Hello& hello) = 0;  // set up, knows nothing else
  virtual void OnTrainerFrame(sitelink::Frame frame) = 0;         // neither Hello nor Failure
  // It is being started again; what it was told and what it computed is gone.
  virtual void OnTrainerLost(const std::string& reason) = 0;
  virtual void OnTrainerFailed(const std::string& reason) = 0;  // for good
};

// Start, and every other method, on the event loop's thread, which must live as long as the
// trainer. A trainer that ends, breaks the link, says Failure or shows no progress while it is busy
// is killed and started again, at most relaunch_limit times. Outlived by launcher, queue, clock and
// events.
class TrainerHost {
 public:
  TrainerHost(TrainerOptions options, sitelink::Setup setup, Launcher& launcher, EventQueue& queue,
              Clock& clock, TrainerEvents& events);
  ~TrainerHost();  // Stop(0)

  void Start();
  bool ready() const { return ready_; }
  // Sends a whole model, then `command` (Train, Evaluate). The trainer counts as busy until
  // SetIdle.
  template <typename M>
  void SendModelAnd(std::shared_ptr<const store::BlobReader> model, const M& command) {
    Enqueue({std::move(model), {static_cast<uint16_t>(M::kType), sitelink::Encode(command)}});
  }
  template <typename M>
  void Send(const M& command) {
    Enqueue({nullptr, {static_cast<uint16_t>(M::kType), sitelink::Encode(command)}});
  }
  // What has no answer: the trainer is no busier for it.
  template <typename M>
  void Tell(const M& message) {
    const bool busy = busy_;
    Send(message);
    busy_ = busy;
  }
  void SetIdle() { busy_ = false; }
  // Looks after the process and its progress; call it a few times a second.
  void Tick();
  // Asks it to end, then kills what is left after grace_ms. Nothing is told after that.
  void Stop(int grace_ms);

 private:
  void Enqueue(TrainerSession::Outgoing outgoing);
  absl::Status Launch();
  void EndLaunch(int grace_ms);
  // Kills and reaps ranks that outlived mpirun and became our children.
  void ReapRanks();
  // The trainer of this launch is no more: starts another one, or gives up.
  void Lose(const std::string& reason);
  void OnFrame(sitelink::Frame frame);
  void OnHello(const sitelink::Hello& hello);
  // What the trainer said, or the end of its log.
  std::string LastWords() const;

  const TrainerOptions options_;
  const sitelink::Setup setup_;
  Launcher& launcher_;
  EventQueue& queue_;
  Clock& clock_;
  TrainerEvents& events_;
  std::unique_ptr<TrainerSession> session_;
  std::unique_ptr<RunningTrainer> running_;
  int launches_ = 0;
  std::string why_lost_;  // set by an event, acted on in Tick: not under its own caller's feet
  bool lost_ = false;
  int64_t lost_ms_ = 0;
  bool ready_ = false, busy_ = false, ended_ = false;
  std::string failure_;     // what the trainer itself said went wrong
  uint64_t log_start_ = 0;  // size of its log when it was launched
  std::set<pid_t> ranks_;
  int64_t launched_ms_ = 0;
};

}  // namespace atl::site

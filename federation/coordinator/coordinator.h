// The shell around Core: a queue, one thread that takes events from it, and the hands that carry
// effects out.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "comms/base/clock.h"
#include "comms/base/random.h"
#include "federation/coordinator/checks.h"
#include "federation/coordinator/connections.h"
#include "federation/coordinator/core.h"
#include "federation/coordinator/early_sums.h"
#include "federation/coordinator/uploads.h"
#include "federation/coordinator/watchers.h"
#include "federation/secagg/roster.h"
#include "federation/store/blob_store.h"
#include "federation/store/event_log.h"
#include "federation/store/vector_store.h"

namespace atl::coordinator {

// What a coordinator works with.
struct CoordinatorParts {
  secagg::Roster roster;
  const CryptoSuite* suite = nullptr;
  SecretRandom* random = nullptr;
  Clock* clock = nullptr;
  std::unique_ptr<store::EventLog> log;
  store::BlobStore blobs;
  std::unique_ptr<store::VectorStore> vectors;
  // In place of the recipes' own values.
  std::optional<int> reconnect_grace_s, cohort_wait_s;
  uint32_t sum_threads = 0;                        // that add up a round's vectors; 0: one a core
  uint32_t early_sum_vectors = kEarlyPassVectors;  // added at once while others are still to come
};

// Each event is written to the log, then applied, then acted on. Three threads of its own: the
// event loop, the one that sums and the one that begins to while vectors come. Everything public is
// thread-safe.
class Coordinator {
 public:
  // Folds the log: queued jobs stay queued, running ones go on with the round that ran. DATA_LOSS
  // when it does not fold.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Start(CoordinatorParts parts);
  ~Coordinator();
  // Ends both threads, all streams and watchers; a sum that is being made is left. Everything is in
  // the log.
  void Stop();
  // Not OK when the log cannot be written any more: the coordinator has stopped by itself.
  absl::Status health() const;

  // A site's stream opens and ends. Attach replaces (and closes) a stream that the site had.
  void Attach(std::shared_ptr<Connection> connection, double cpus, double memory_gb);
  void Detach(const Connection& connection, const std::string& why);
  // Waits while the queue is full. CANCELLED when the coordinator stops.
  absl::Status Post(Event event);
  // Returns when the event was acted on.
  absl::Status PostAndWait(Event event);

  // INVALID_ARGUMENT (recipe, parameters, a blob of another size), NOT_FOUND (the blob),
  // RESOURCE_EXHAUSTED (too many jobs).
  absl::StatusOr<JobId> Submit(const std::string& recipe_yaml, const Digest& first_model,
                               uint64_t parameters);
  absl::Status Cancel(JobId job,
                      const std::string& reason);  // NOT_FOUND, FAILED_PRECONDITION (it has ended)
  absl::StatusOr<v1::JobReport> Report(JobId job) const;  // NOT_FOUND
  v1::ListJobsReply ReportAll() const;
  // Published events of the job with id > after, in order; empty: there are no more now.
  absl::StatusOr<std::vector<v1::JobEvent>> Published(JobId job, uint64_t after);
  // Bytes of a blob have been sent to somebody.
  void Downloaded(const Digest& blob, uint64_t bytes);

  const secagg::Roster& roster() const { return parts_.roster; }
  const CryptoSuite& suite() const { return *parts_.suite; }
  SecretRandom& random() { return *parts_.random; }
  const store::BlobStore& blobs() const { return parts_.blobs; }
  store::VectorStore& vectors() { return *parts_.vectors; }
  Connections& connections() { return connections_; }
  Uploads& uploads() { return uploads_; }
  Checks& checks() { return checks_; }
  Watchers& watchers() { return watchers_; }

  static constexpr size_t kMaxQueued = 4096;
  static constexpr size_t kMaxUnfinishedJobs = 256;

 private:
  struct Item {
    Event event;
    std::shared_ptr<std::promise<void>> done;  // may be null
  };

  explicit Coordinator(CoordinatorParts parts);
  absl::Status Fold();
  absl::Status TakeUpSecrets();
  void Forget(const ForgetSlot& slot);
  void Run();
  void Act(const Event& event);
  absl::StatusOr<uint64_t> Write(const store::Batch& batch);
  void CarryOut(Effects effects);
  // For those who asked for the trace of its job.
  void TraceEvent(const Event& event);
  void TraceStep(const v1::SecAgg& step, std::string from, std::string to);
  std::string NameOf(SiteId site) const;
  void Record(Effects& effects);
  void Tick();
  void RunSums();
  int64_t NowMs() { return parts_.clock->NowMs() + offset_ms_; }

  CoordinatorParts parts_;
  Connections connections_;
  Uploads uploads_;
  Checks checks_;
  EarlySums early_sums_;
  Watchers watchers_;
  std::mutex attach_mutex_;  // a stream's opening and end are posted in the order they happen

  mutable std::mutex core_mutex_;  // guards core_
  Core core_;
  int64_t offset_ms_ = 0;  // so that time goes on after a restart
  std::atomic<uint64_t> next_job_ = 1;
  std::mutex submit_mutex_;

  mutable std::mutex queue_mutex_;  // guards what follows
  std::condition_variable queued_, taken_;
  std::deque<Item> queue_;
  absl::Status health_;
  std::atomic<bool> stopping_ = false;

  std::mutex sums_mutex_;  // guards sums_
  std::condition_variable sums_changed_;
  std::deque<StartSum> sums_;

  std::thread loop_, summer_;
};

}  // namespace atl::coordinator

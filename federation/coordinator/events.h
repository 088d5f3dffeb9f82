// What happens to a coordinator, and what it does about it: the inputs and outputs of the state
// machines. Plain data.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/ids.h"
#include "comms/rpc/atoll.pb.h"
#include "federation/secagg/messages.h"
#include "federation/secagg/site_slot.h"
#include "federation/store/vector_store.h"
#include "federation/strategy/scale.h"
#include "kernels/vector_layout.h"

namespace atl::coordinator {

// Stands for the evaluator where a site's id is asked for.
inline constexpr SiteId kEvaluator{0};

// ---- events ----

struct JobSubmitted {
  JobId job;
  std::string recipe_yaml;  // resolved
  Digest first_model{};
  uint64_t parameters = 0;
  secagg::RunId run{};
};
struct JobPlaced {
  JobId job;
  std::vector<SiteId> sites;  // sorted
};
struct CancelRequested {
  JobId job;
  std::string reason;
};
struct PeerConnected {
  SiteId site;
  double cpus = 0, memory_gb = 0;
};
struct PeerGone {
  SiteId site;
  std::string why;
};
struct PeerSaid {
  SiteId site;
  v1::SiteMessage message;
};
// The whole vector is durable and has the committed root.
struct UploadComplete {
  store::VectorId id;
  uint64_t bytes = 0;
};
// What a round's sum says.
struct SumOutcome {
  Digest sum{}, next_model{};
  uint64_t weight = 0, examples = 0, correct = 0, saturated = 0, clipped = 0;
  double loss_sum = 0;
  double next_range = 0;           // strategy::NextRange of the sum; 0: the clip
  std::vector<Digest> group_sums;  // of each group in the sum; none where the run is not split
};
struct SumDone {
  JobId job;
  RoundId round;
  SlotId slot;
  SumOutcome outcome;
};
struct SumFailed {
  JobId job;
  RoundId round;
  SlotId slot;
  std::string why;
};
// The attempt came to nothing after its survivors had revealed what they hold: a dealer's shares
// were wrong.
struct AttemptFailed {
  JobId job;
  RoundId round;
  SlotId slot;
  std::string why;
};
// A site is no longer waited for: its grace is over, it shows no progress, or it broke the
// protocol.
struct MemberDropped {
  JobId job;
  SiteId site;
  std::string why;
};
struct CohortWaitOver {
  JobId job;
};
struct EvaluationGivenUp {
  JobId job;
  std::string why;
};
// The coordinator came back: nobody is connected.
struct Restarted {};
// Signs of life of a site that need not be kept: chunks of an upload.
struct Heard {
  SiteId site;
};
// Sites that have not said what they think of a round's result are no longer waited for.
struct ResultGivenUp {
  JobId job;
  RoundId round;
  std::string why;
};

using Event =
    std::variant<JobSubmitted, JobPlaced, CancelRequested, PeerConnected, PeerGone, PeerSaid,
                 UploadComplete, SumDone, SumFailed, AttemptFailed, MemberDropped, CohortWaitOver,
                 EvaluationGivenUp, Restarted, Heard, ResultGivenUp>;

// False for what changes no decision but when time runs out: progress, signs of life.
bool IsLogged(const Event& event);
// The job that it is about; JobId(0): all, or none.
JobId JobOf(const Event& event);
// An event with its time (ms, of the coordinator's own count) as the log keeps it. Of an answer to
// R4 only that it came: the shares in it are never written down, and asked for again after a
// restart.
Bytes EncodeEvent(const Event& event, int64_t at_ms);
struct TimedEvent {
  int64_t at_ms = 0;
  Event event;
};
absl::StatusOr<TimedEvent> DecodeEvent(ByteView bytes);
uint32_t KindOf(const Event& event);  // from 1

// A revealed secret as it is kept beside the log: u8 kind || secret. Wipe the bytes. DATA_LOSS.
Bytes EncodeSecret(const secagg::RevealedSecret& secret);
absl::StatusOr<secagg::RevealedSecret> DecodeSecret(SiteId owner, ByteView bytes);

// ---- effects ----

struct Send {
  SiteId to;
  v1::CoordinatorMessage message;
};
// The site has committed: its vector may come now.
struct AllowUpload {
  store::VectorId id;
  uint64_t bytes = 0;
  Digest root{};
  std::vector<uint32_t> chunk_bytes;
};
// No more vectors of the slot are taken.
struct CloseUploads {
  JobId job;
  RoundId round;
  SlotId slot;
};
// To be kept beside the log until the slot is forgotten: what its result has to say after a
// restart.
struct KeepSecrets {
  JobId job;
  SlotId slot;
  std::vector<secagg::RevealedSecret> secrets;
};
// The sum is published: these sites may check its chunks, until the slot is forgotten.
struct AllowChecks {
  JobId job;
  RoundId round;
  SlotId slot;
  // Whose vectors are in the sum, sorted, by the number of their group; 0 where the run is not
  // split.
  std::map<uint32_t, std::vector<SiteId>> survivors = {};
  std::map<SiteId, uint32_t> askers = {};              // and their groups
  std::vector<std::pair<uint32_t, Digest>> sums = {};  // of each group, in a split run
  std::vector<uint32_t> chunk_bytes = {};
};
// The vector is whole, so it will be in the sum if its group is: it may be added up already.
struct SumEarly {
  store::VectorId id;
  uint32_t group = 0;  // number; 0 where the run is not split
  std::vector<kernels::Segment> segments;
};
// Everything of the slot goes: staged vectors, revealed secrets.
struct ForgetSlot {
  JobId job;
  RoundId round;
  SlotId slot;
};
// One group's part of a sum: whose vectors, and the streams to add to them. Without groups the only
// one, of all.
struct SumGroup {
  uint32_t number = 0;  // 0 where the run is not split, else from 1
  std::vector<SiteId> survivors;
  std::vector<secagg::MaskStream> streams;
};
// Add up, take the masks off, make the next model.
struct StartSum {
  JobId job;
  RoundId round;
  SlotId slot;
  std::vector<kernels::Segment> segments;
  std::vector<SiteId> survivors;  // of all groups
  std::vector<SumGroup> groups;
  kernels::MaskCipher cipher = kernels::MaskCipher::kAes256Ctr;
  Digest model{};
  secagg::WeightRule weight_rule = secagg::WeightRule::kExamples;
  uint64_t weight_max = 1;
  std::string strategy;
  double server_lr = 1;
  strategy::ScaleRule scale_rule = strategy::ScaleRule::kClip;  // of the next round
};
// No job uses the blob any more (the shell asks all others before it removes it).
struct RemoveBlob {
  Digest root{};
};
// For those who watch the job. Kept in the log unless it is progress.
struct Publish {
  JobId job;
  v1::JobEvent event;
};
// The job has ended: its report is all that is needed of it from now on.
struct SaveJob {
  JobId job;
};

using Effect = std::variant<Send, AllowUpload, CloseUploads, KeepSecrets, AllowChecks, ForgetSlot,
                            SumEarly, StartSum, RemoveBlob, Publish, SaveJob>;

// The effects of one step, in order.
class Effects {
 public:
  void Add(Effect effect) { list_.push_back(std::move(effect)); }
  void SendStep(SiteId to, JobId job, SlotId slot, RoundId round, v1::Step step, ByteView payload);
  void Note(JobId job, std::string text);

  const std::vector<Effect>& list() const { return list_; }
  std::vector<Effect>& list() { return list_; }
  // Bytes of protocol messages to send, since the last call.
  uint64_t TakePayloadBytes() { return std::exchange(payload_bytes_, 0); }

 private:
  std::vector<Effect> list_;
  uint64_t payload_bytes_ = 0;
};

}  // namespace atl::coordinator

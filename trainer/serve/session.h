// A trainer under a site agent: obeys what comes over the site link, on all ranks.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/collectives/communicator.h"
#include "comms/sitelink/messages.h"
#include "recipes/schema/recipe.h"
#include "trainer/data/dataset.h"
#include "trainer/gpu/compute.h"
#include "trainer/loop/metrics.h"
#include "trainer/model/network.h"
#include "trainer/serve/inbox.h"
#include "trainer/serve/masks_ahead.h"

namespace atl::trainer {

struct SliceToSend;

// One job, from Hello to Stop; messages.h has the conversation. Rank 0 alone holds the link: it
// hands each frame to the other ranks, and all act on it alike. Lives on the main thread.
class Session {
 public:
  explicit Session(Communicator& communicator) : communicator_(communicator) {}

  // Connects and serves. OK after Stop. On an error that all ranks share (IsAgreed) they end in
  // order, and the agent has been sent a Failure; with another the caller must end all ranks.
  absl::Status Run(const std::string& link_address);

 private:
  absl::Status Greet(const std::string& link_address);
  absl::StatusOr<sitelink::Frame> NextFrame();  // the same on all ranks
  absl::Status Handle(const sitelink::Frame& frame, bool& stopped);

  absl::Status OnSetup(const sitelink::Setup& setup);
  absl::Status OnModelChunk(const sitelink::ModelChunk& chunk);
  absl::Status OnTrain(const sitelink::Train& train);
  absl::Status OnPrepare(const sitelink::Prepare& prepare);
  absl::Status OnRelease(const sitelink::Release& release);
  absl::Status OnEvaluate(const sitelink::Evaluate& evaluate);

  absl::Status LoadTrainingData();
  absl::Status TakeGlobalModel();
  absl::Status SendVector(const sitelink::Release& release, ByteView metrics_segment,
                          const SliceToSend& mine);
  LoopHooks Hooks(uint32_t round, const char* phase);
  // Ranks other than 0 have no link and send nothing.
  template <typename M>
  absl::Status Tell(const M& message) {
    return inbox_ == nullptr ? absl::OkStatus() : sitelink::SendMessage(inbox_->link(), message);
  }

  Communicator& communicator_;
  std::unique_ptr<Inbox> inbox_;  // rank 0
  KeyPair launch_key_;

  std::optional<sitelink::Setup> setup_;
  recipes::Recipe recipe_;
  std::optional<Compute> compute_;  // of this recipe
  std::unique_ptr<Network> network_;
  std::vector<float> global_;  // the model as the agent sent it
  std::vector<bool> chunk_here_;
  std::unique_ptr<Dataset> train_set_, test_set_;
  std::vector<uint32_t> examples_;  // this site's, in train_set_
  struct Update {
    uint32_t round = 0;
    Metrics metrics;  // of the last local epoch
  };
  std::optional<Update> update_;  // trained and not yet released: network_ - global_
  MasksAhead ahead_;              // of the context that is expected for it
};

}  // namespace atl::trainer

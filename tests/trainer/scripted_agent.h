// The agent's side of a site link, under a test's control, with real trainer ranks behind it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comms/sitelink/messages.h"
#include "kernels/vector_layout.h"
#include "tests/trainer/mpi_job.h"

namespace atl::trainer {

// Members fail the current test on unexpected answers; `ok()` says whether to go on.
class ScriptedAgent {
 public:
  ScriptedAgent(int ranks, const std::string& recipe_yaml, uint64_t parameters,
                uint32_t site_index = 0, uint32_t site_count = 3);

  bool ok() const { return link_ != nullptr; }
  const sitelink::Hello& hello() const { return hello_; }
  sitelink::Link& link() { return *link_; }
  MpiJob& job() { return *job_; }

  template <typename M>
  void Send(const M& message) {
    (void)sitelink::SendMessage(*link_, message);
  }
  void SendModel(const std::vector<float>& values);
  // The next message but Progress; type 0 when the link is closed or nothing comes for a minute.
  sitelink::Frame Next();
  // ...which must be an M.
  template <typename M>
  M Expect() {
    sitelink::Frame frame = Next();
    CheckType(frame, static_cast<uint16_t>(M::kType));
    auto message = sitelink::Decode<M>(frame.payload);
    return message.ok() ? *message : M{};
  }
  // Chunks up to Masked, one after the other.
  Bytes ReceiveVector(const kernels::VectorLayout& layout);
  const sitelink::Masked& masked() const { return masked_; }  // of the last vector
  int progress_count() const { return progress_count_; }

  void CloseLink() { link_->Close(); }
  // Whether all ranks have ended within the time; mpirun itself may take longer on a busy machine.
  bool RanksEnd(int timeout_ms) const;
  // Exit code of mpirun; checks that no rank and no file is left.
  int WaitForEnd(int timeout_ms);
  // Seconds of processor time that all ranks have used.
  double CpuSeconds() const;

 private:
  static void CheckType(const sitelink::Frame& frame, uint16_t type);

  std::unique_ptr<TemporaryFolder> folder_;
  std::unique_ptr<sitelink::Listener> listener_;
  std::unique_ptr<MpiJob> job_;
  std::unique_ptr<sitelink::Link> link_;
  sitelink::Hello hello_;
  sitelink::Masked masked_;
  int progress_count_ = 0;
};

}  // namespace atl::trainer

// Gradients summed over ranks while the backward pass still runs.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "comms/collectives/communicator.h"
#include "trainer/model/architecture.h"

namespace atl::trainer {

struct ReducerOptions {
  uint64_t bucket_bytes = 4 << 20;
};

// Owns the flat gradient; each parameter's gradient is a view into it. The buffer is cut into
// buckets from its end, which the backward pass fills first; as soon as all gradients of a bucket
// are there (and the buckets before it are on their way, so that all ranks keep one order), its sum
// over ranks starts, in place. A flag travels with the first bucket: what any rank raises, all see
// at the same step.
//
// Used by the thread that runs the backward pass. `parameters` must outlive it and be trained by no
// other reducer.
class GradientReducer {
 public:
  GradientReducer(const std::vector<at::Tensor>& parameters, const std::vector<TensorInfo>& tensors,
                  Communicator& communicator, const ReducerOptions& options);
  ~GradientReducer();  // waits for what is under way, takes its hooks off

  // Zeroes the gradient. Call before each backward pass.
  void BeginStep(bool raise_flag);
  // Starts the buckets that the backward pass left (a rank without examples has none), waits for
  // all.
  absl::Status FinishStep();
  // Whether any rank raised its flag in the step that was finished last.
  bool flag_raised() const;

  // float32 [count]; after FinishStep the sum over ranks, the same bits on each. Scaling the loss
  // by 1 / (examples of the global batch) makes it the average.
  const at::Tensor& gradient() const;
  // Buckets in the order in which they start; for tests and logs.
  size_t bucket_count() const;
  // Buckets whose sum had started when FinishStep was called.
  size_t buckets_started_early() const;

 private:
  struct State;  // shared with the hooks
  std::shared_ptr<State> state_;
};

}  // namespace atl::trainer

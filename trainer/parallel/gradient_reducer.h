// Gradients summed over ranks while the backward pass still runs.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "comms/collectives/communicator.h"
#include "trainer/model/tensor_info.h"

namespace atl::trainer {

struct ReducerOptions {
  uint64_t bucket_bytes = 4 << 20;
  // Each rank gets the sum only where it owns it (reduce-scatter): half the traffic, for an
  // optimiser whose state is split over the ranks.
  bool scatter = false;
  at::Device device = at::kCPU;  // where the parameters will be, and the communicator's memory is
};

// Owns the flat gradient, in memory where the communicator sums fastest, and has each parameter's
// gradient put there: by the operation that computes it (see GradientPlace), else by one copy. The
// buffer is cut into buckets from its end, which the backward pass fills first; as soon as all
// gradients of a bucket are there (and the buckets before it are on their way, so that all ranks
// keep one order), its sum over ranks starts, in place. A flag travels with the first bucket: what
// any rank raises, all see at the same step.
//
// A step: BeginStep, any number of backward passes, LastPass, one pass or none, FinishStep. Nothing
// is set to zero for it but the gradients of parameters that no pass reached.
//
// Used by the thread that runs the backward pass. `parameters` must outlive it and be trained by no
// other reducer.
class GradientReducer {
 public:
  GradientReducer(const std::vector<at::Tensor>& parameters, const std::vector<TensorInfo>& tensors,
                  Communicator& communicator, const ReducerOptions& options);
  ~GradientReducer();  // waits for what is under way, takes its hooks off

  // The backward passes that follow add up; no sum starts yet.
  void BeginStep();
  // Call before the last backward pass of the step, or instead of it: sums start as its gradients
  // come.
  void LastPass(bool raise_flag);
  // Starts the buckets that the backward pass left (a rank without examples has none), waits for
  // all. Afterwards each parameter's .grad() is its part of gradient(). Errors are the
  // communicator's, and RESOURCE_EXHAUSTED when there was no memory for the gradient.
  absl::Status FinishStep();
  // Whether any rank raised its flag in the step that was finished last.
  bool flag_raised() const;

  // float32 [count]; after FinishStep the sum over ranks (with options.scatter: within owned(rank);
  // undefined elsewhere), the same bits on each. Scaling the loss by 1 / (examples of the global
  // batch) makes it the average.
  const at::Tensor& gradient() const;

  // What `rank` gets with options.scatter: ascending ranges of [0, count), which all ranks'
  // together cover once. Without it: everything.
  std::vector<Shard> owned(uint32_t rank) const;
  // What `rank` would own with options.scatter, whether it is set or not.
  std::vector<Shard> shares(uint32_t rank) const;
  // With options.scatter: every rank brings what it owns of `values` [count], and gets the rest.
  // Fastest in memory from the communicator's Allocate.
  absl::Status GatherOwned(std::span<float> values);

  // Buckets in the order in which they start; for tests and logs.
  size_t bucket_count() const;
  // Buckets whose sum had started when FinishStep was called.
  size_t buckets_started_early() const;

 private:
  struct State;  // shared with the hooks
  std::shared_ptr<State> state_;
};

}  // namespace atl::trainer

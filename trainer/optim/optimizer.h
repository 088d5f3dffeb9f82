// The local optimisers, over flat float32 values: one pass over memory a step.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "comms/collectives/communicator.h"
#include "recipes/schema/recipe.h"

namespace atl::trainer {

struct StepOptions {
  double lr = 0;                // of this step, >= 0
  float gradient_scale = 1.0f;  // each gradient is multiplied by it first (1: it stays as it is)
};

// Per element the arithmetic of torch's SGD (momentum without dampening, L2 weight decay), Adam
// (Kingma and Ba, 1412.6980; L2 weight decay) and AdamW (Loshchilov and Hutter, 1711.05101), in
// float32. Works on some ranges of the flat values only, so that several ranks may share them out;
// since no element looks at another, the shares come to the bits that one rank would. Not
// thread-safe.
class LocalOptimizer {
 public:
  // `owned`: ascending ranges that do not overlap.
  LocalOptimizer(const recipes::Optimizer& options, std::vector<Shard> owned);

  // Both spans are the whole flat buffers; only what lies in owned() is read and written.
  void Step(const StepOptions& step, std::span<float> parameters, std::span<const float> gradient);

  const std::vector<Shard>& owned() const { return owned_; }

  // What the next step depends on beside the parameters: steps(), and tensors that hold a value for
  // each owned element, range after range, zero at first. Their names and number follow from the
  // options alone.
  uint64_t steps() const { return steps_; }
  void set_steps(uint64_t steps) { steps_ = steps; }
  struct State {
    std::string name;  // as torch calls it: "momentum_buffer", "exp_avg", "exp_avg_sq"
    std::vector<float> values;
  };
  std::vector<State>& state() { return state_; }
  const std::vector<State>& state() const { return state_; }

 private:
  const recipes::Optimizer options_;
  const std::vector<Shard> owned_;
  std::vector<State> state_;
  uint64_t steps_ = 0;
};

// Of `parts`, range after range, how many values there are.
uint64_t ValuesIn(std::span<const Shard> parts);

}  // namespace atl::trainer

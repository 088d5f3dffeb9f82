#include "trainer/optim/optimizer.h"

#include <cmath>
#include <utility>

namespace atl::trainer {
namespace {

using recipes::OptimizerKind;

// One range of all the buffers that a step touches. `a` and `b` are state, null where the optimiser
// has none.
struct Range {
  float* __restrict parameters;
  const float* __restrict gradient;
  float* __restrict a;
  float* __restrict b;
  uint64_t count;
};

struct SgdFactors {
  float scale, decay, momentum, lr;
};

void StepSgd(const Range& r, const SgdFactors& f) {
  for (uint64_t i = 0; i < r.count; ++i) {
    const float gradient = r.gradient[i] * f.scale + f.decay * r.parameters[i];
    r.parameters[i] -= f.lr * gradient;
  }
}

void StepSgdWithMomentum(const Range& r, const SgdFactors& f) {
  for (uint64_t i = 0; i < r.count; ++i) {
    const float gradient = r.gradient[i] * f.scale + f.decay * r.parameters[i];
    const float velocity = r.a[i] * f.momentum + gradient;
    r.a[i] = velocity;
    r.parameters[i] -= f.lr * velocity;
  }
}

struct AdamFactors {
  float scale;
  float decay;                       // into the gradient: Adam
  float shrink;                      // of the parameter itself: AdamW; 1 for Adam
  float beta1, beta2, rest1, rest2;  // rest = 1 - beta
  float root_correction2, epsilon, step_size;
};

void StepAdam(const Range& r, const AdamFactors& f) {
  for (uint64_t i = 0; i < r.count; ++i) {
    const float gradient = r.gradient[i] * f.scale + f.decay * r.parameters[i];
    const float mean = r.a[i] * f.beta1 + f.rest1 * gradient;
    const float square = r.b[i] * f.beta2 + f.rest2 * gradient * gradient;
    r.a[i] = mean;
    r.b[i] = square;
    const float divisor = std::sqrt(square) / f.root_correction2 + f.epsilon;
    r.parameters[i] = r.parameters[i] * f.shrink - f.step_size * (mean / divisor);
  }
}

SgdFactors FactorsOfSgd(const recipes::Optimizer& o, const StepOptions& step) {
  return {.scale = step.gradient_scale,
          .decay = static_cast<float>(o.weight_decay),
          .momentum = static_cast<float>(o.momentum),
          .lr = static_cast<float>(step.lr)};
}

// `steps`: this one included.
AdamFactors FactorsOfAdam(const recipes::Optimizer& o, const StepOptions& step, uint64_t steps) {
  const bool decoupled = o.kind == OptimizerKind::kAdamW;
  const double n = static_cast<double>(steps);
  return {.scale = step.gradient_scale,
          .decay = static_cast<float>(decoupled ? 0.0 : o.weight_decay),
          .shrink = static_cast<float>(decoupled ? 1.0 - step.lr * o.weight_decay : 1.0),
          .beta1 = static_cast<float>(o.beta1),
          .beta2 = static_cast<float>(o.beta2),
          .rest1 = static_cast<float>(1.0 - o.beta1),
          .rest2 = static_cast<float>(1.0 - o.beta2),
          .root_correction2 = static_cast<float>(std::sqrt(1.0 - std::pow(o.beta2, n))),
          .epsilon = static_cast<float>(o.epsilon),
          .step_size = static_cast<float>(step.lr / (1.0 - std::pow(o.beta1, n)))};
}

std::vector<std::string> StateNames(const recipes::Optimizer& options) {
  if (options.kind != OptimizerKind::kSgd) return {"exp_avg", "exp_avg_sq"};
  if (options.momentum != 0) return {"momentum_buffer"};
  return {};
}

}  // namespace

uint64_t ValuesIn(std::span<const Shard> parts) {
  uint64_t count = 0;
  for (const Shard& part : parts) count += part.size();
  return count;
}

LocalOptimizer::LocalOptimizer(const recipes::Optimizer& options, std::vector<Shard> owned)
    : options_(options), owned_(std::move(owned)) {
  const uint64_t count = ValuesIn(owned_);
  for (std::string& name : StateNames(options_))
    state_.push_back({std::move(name), std::vector<float>(count, 0.0f)});
}

void LocalOptimizer::Step(const StepOptions& step, std::span<float> parameters,
                          std::span<const float> gradient) {
  ++steps_;
  uint64_t done = 0;  // values of the ranges before
  for (const Shard& part : owned_) {
    Range range{.parameters = parameters.subspan(part.first, part.size()).data(),
                .gradient = gradient.subspan(part.first, part.size()).data(),
                .a = state_.empty() ? nullptr : state_[0].values.data() + done,
                .b = state_.size() < 2 ? nullptr : state_[1].values.data() + done,
                .count = part.size()};
    if (options_.kind != OptimizerKind::kSgd) {
      StepAdam(range, FactorsOfAdam(options_, step, steps_));
    } else if (state_.empty()) {
      StepSgd(range, FactorsOfSgd(options_, step));
    } else {
      StepSgdWithMomentum(range, FactorsOfSgd(options_, step));
    }
    done += part.size();
  }
}

}  // namespace atl::trainer

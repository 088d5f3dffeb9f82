// What models make of batches, added up.
#pragma once

#include "trainer/loop/metrics.h"
#include "trainer/model/body.h"

namespace atl::trainer {

inline void Count(const Outcome& outcome, Metrics& metrics) {
  metrics.examples += outcome.counted;
  metrics.correct += outcome.correct;
  metrics.loss_sum += outcome.loss_sum;
}

}  // namespace atl::trainer

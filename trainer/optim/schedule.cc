#include "trainer/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace atl::trainer {

double LearningRateFactor(const recipes::Schedule& schedule, double progress) {
  progress = std::clamp(progress, 0.0, 1.0);
  if (progress < schedule.warmup) return progress / schedule.warmup;
  const double rest = 1.0 - schedule.warmup;
  const double way = rest > 0 ? (progress - schedule.warmup) / rest : 1.0;  // in [0, 1]
  const double fall = 1.0 - schedule.final_share;
  switch (schedule.kind) {
    case recipes::ScheduleKind::kConstant:
      return 1.0;
    case recipes::ScheduleKind::kLinear:
      return 1.0 - fall * way;
    case recipes::ScheduleKind::kCosine:
      return schedule.final_share + fall * 0.5 * (1.0 + std::cos(std::numbers::pi * way));
  }
  return 1.0;
}

}  // namespace atl::trainer

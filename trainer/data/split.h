// The parts of a data set.
#pragma once

namespace atl::trainer {

enum class Split { kTrain, kTest };

}  // namespace atl::trainer

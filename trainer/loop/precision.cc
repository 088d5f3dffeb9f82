#include "trainer/loop/precision.h"

#include <ATen/autocast_mode.h>
#include <torch/types.h>

namespace atl::trainer {

PrecisionScope::PrecisionScope(recipes::Precision precision)
    : bf16_(precision == recipes::Precision::kBf16) {
  if (!bf16_) return;
  for (auto device : {at::kCPU, at::kCUDA}) {
    at::autocast::set_autocast_dtype(device, at::kBFloat16);
    at::autocast::set_autocast_enabled(device, true);
  }
}

PrecisionScope::~PrecisionScope() {
  if (!bf16_) return;
  for (auto device : {at::kCPU, at::kCUDA}) at::autocast::set_autocast_enabled(device, false);
  at::autocast::clear_cache();
}

}  // namespace atl::trainer

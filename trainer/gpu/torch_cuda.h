// torch's CUDA half, loaded at run time: the trainer itself links torch for the CPU alone.
#pragma once

#include <string>

namespace atl::trainer {

// Loads libtorch_cuda.so from where torch's other libraries lie, once; then tensors can be on
// at::kCUDA. Empty, or what is missing. Needs no more than torch, so that it is tested alone.
std::string LoadTorchCuda();

}  // namespace atl::trainer

#include "trainer/gpu/torch_cuda.h"

#include <ATen/Context.h>
#include <dlfcn.h>

#include <exception>

namespace atl::trainer {
namespace {

std::string Load() {
  // Its kernels and hooks register themselves.
  if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    const char* text = dlerror();
    return std::string("torch for CUDA does not load: ") + (text == nullptr ? "" : text);
  }
  try {
    if (!at::globalContext().hasCUDA()) return "torch sees no GPU";
    at::globalContext().lazyInitDevice(at::kCUDA);
  } catch (const std::exception& error) {
    const std::string text = error.what();
    return "torch cannot use the GPU: " + text.substr(0, text.find('\n'));
  }
  return "";
}

}  // namespace

std::string LoadTorchCuda() {
  static const std::string problem = Load();
  return problem;
}

}  // namespace atl::trainer

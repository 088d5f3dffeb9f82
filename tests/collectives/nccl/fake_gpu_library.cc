// A libatoll_gpu.so for load_test.cc: FAKE_VERSION, and FAKE_GPUS (negative: an error of this
// code).
#include "comms/collectives/nccl/gpu_api.h"

#ifdef FAKE_VERSION
namespace {

constexpr AtollGpuApi Table() {
  AtollGpuApi api{};
  api.version = FAKE_VERSION;
  api.device_count = [](int* count) {
    *count = FAKE_GPUS < 0 ? 0 : FAKE_GPUS;
    return FAKE_GPUS < 0 ? -FAKE_GPUS : 0;
  };
  api.device_uuid = [](int device, uint8_t* uuid) {
    for (int i = 0; i < 16; ++i) uuid[i] = static_cast<uint8_t>(16 * device + i + 1);
    return 0;
  };
  api.cuda_error_name = [](int) { return "cudaErrorNoDevice"; };
  api.cuda_error_text = [](int) { return "no device"; };
  return api;
}
constexpr AtollGpuApi kApi = Table();

}  // namespace

extern "C" const AtollGpuApi* atoll_gpu_api(uint32_t version, uint32_t* has) {
  *has = FAKE_VERSION;
  return version == FAKE_VERSION ? &kApi : nullptr;
}
#endif

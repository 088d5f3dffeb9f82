#include "tests/gpu/check.h"

#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>

namespace atl::gpu {
namespace {

std::atomic<int> failures = 0;

const AtollGpuApi* Load() {
  const char* folder = std::getenv("ATOLL_GPU_FOLDER");
  const std::string path =
      (folder == nullptr ? std::string(".") : std::string(folder)) + "/libatoll_gpu.so";
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    std::exit(1);
  }
  auto get = reinterpret_cast<decltype(&atoll_gpu_api)>(dlsym(handle, ATOLL_GPU_API_SYMBOL));
  uint32_t has = 0;
  const AtollGpuApi* api = get == nullptr ? nullptr : get(ATOLL_GPU_API_VERSION, &has);
  if (api == nullptr) {
    std::fprintf(stderr, "%s: has interface version %u, not %d\n", path.c_str(), has,
                 ATOLL_GPU_API_VERSION);
    std::exit(1);
  }
  return api;
}

void MustBeWell(int error, const char* call) {
  const GpuStatus status = CudaStatus(Api(), error, call);
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.message.c_str());
  std::exit(1);
}

}  // namespace

const AtollGpuApi& Api() {
  static const AtollGpuApi* const api = Load();
  return *api;
}

int Gpus() {
  int count = 0;
  const GpuStatus status = CudaStatus(Api(), Api().device_count(&count), "cudaGetDeviceCount");
  if (status.ok() && count > 0) return count;
  std::printf("no GPU here%s%s\n", status.ok() ? "" : ": ", status.message.c_str());
  std::exit(std::getenv("ATOLL_GPU_REQUIRED") == nullptr ? kSkipped : 1);
}

int Run(const std::vector<std::pair<std::string, std::function<void()>>>& tests) {
  for (const auto& [name, test] : tests) {
    const auto start = std::chrono::steady_clock::now();
    const int before = failures;
    test();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    std::printf("%s %s (%.2f s)\n", failures == before ? "ok    " : "FAILED", name.c_str(),
                took.count());
    std::fflush(stdout);
  }
  return failures == 0 ? 0 : 1;
}

void Failed(const char* file, int line, const std::string& what) {
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  if (++failures <= 50) std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
}

DeviceBytes::DeviceBytes(size_t bytes) : bytes_(bytes) {
  MustBeWell(Api().allocate(&data_, bytes), "cudaMalloc");
  MustBeWell(Api().zero(data_, bytes), "cudaMemset");
}

DeviceBytes::DeviceBytes(const void* data, size_t bytes) : bytes_(bytes) {
  MustBeWell(Api().allocate(&data_, bytes), "cudaMalloc");
  MustBeWell(Api().copy(data_, data, bytes), "cudaMemcpy");
}

DeviceBytes::~DeviceBytes() { (void)Api().release(data_); }

std::vector<uint8_t> DeviceBytes::Read() const {
  std::vector<uint8_t> out(bytes_);
  MustBeWell(Api().copy(out.data(), data_, bytes_), "cudaMemcpy");
  return out;
}

}  // namespace atl::gpu

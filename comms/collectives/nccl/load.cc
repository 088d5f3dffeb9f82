#include "comms/collectives/nccl/load.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "comms/base/status.h"
#include "comms/collectives/nccl/nccl_communicator.h"

namespace atl {
namespace {

constexpr char kLibrary[] = "libatoll_gpu.so";
constexpr int kMaxGpus = 64;

std::string LoaderError() {
  const char* text = dlerror();
  return text == nullptr ? "no reason given" : text;
}

std::string FolderOfProgram() {
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? "." : program.parent_path().string();
}

absl::StatusOr<GpuLibrary> Open(void* handle, const std::string& path) {
  auto get = reinterpret_cast<decltype(&atoll_gpu_api)>(dlsym(handle, ATOLL_GPU_API_SYMBOL));
  if (get == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": is no ", kLibrary, ": ", LoaderError()));
  }
  uint32_t has = 0;
  GpuLibrary library{.api = get(ATOLL_GPU_API_VERSION, &has)};
  if (library.api == nullptr || library.api->version != ATOLL_GPU_API_VERSION) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": has interface version ", has, ", this program needs ",
                     ATOLL_GPU_API_VERSION, "; build both from one source tree"));
  }
  int gpus = 0;
  const GpuStatus counted =
      CudaStatus(*library.api, library.api->device_count(&gpus), "cudaGetDeviceCount");
  if (!counted.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("no GPU that can be used: ", counted.message));
  }
  if (gpus < 1) {
    return absl::FailedPreconditionError("no GPU: the NVIDIA driver shows this process none");
  }
  for (int device = 0; device < std::min(gpus, kMaxGpus); ++device) {
    uint8_t uuid[16] = {};
    const GpuStatus named =
        CudaStatus(*library.api, library.api->device_uuid(device, uuid), "cudaGetDeviceProperties");
    if (!named.ok()) {
      return absl::FailedPreconditionError(
          absl::StrCat("no GPU that can be used: ", named.message));
    }
    // Of 16 bytes, nearly all random, 6 are enough.
    uint64_t number = 0;
    for (int i = 0; i < 16; ++i) number ^= uint64_t{uuid[i]} << (8 * (i % 6));
    library.gpus.push_back(number);
  }
  return library;
}

}  // namespace

absl::StatusOr<GpuLibrary> LoadGpu(const LoadGpuOptions& options) {
  void* driver = dlopen(options.driver.c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (driver == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("no NVIDIA driver: ", options.driver, " is not there (", LoaderError(), ")"));
  }
  // What needs it holds it by itself.
  dlclose(driver);
  const std::string folder = options.folder.empty() ? FolderOfProgram() : options.folder;
  const std::string path = absl::StrCat(folder, "/", kLibrary);
  if (access(path.c_str(), F_OK) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(kLibrary, " is not beside the program, in ",
                                                      folder,
                                                      ": it is built where nvcc and NCCL are"));
  }
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(path, " does not load: ", LoaderError()));
  }
  auto library = Open(handle, path);
  // One that is used stays: CUDA does not survive being unloaded.
  if (!library.ok()) dlclose(handle);
  return library;
}

}  // namespace atl

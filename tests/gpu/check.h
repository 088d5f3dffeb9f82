// A test program without GoogleTest, which a machine with a GPU need not have.
//
//   CHECK_THAT(a == b, "what differs " << value);      notes a failure and goes on
//   int main() { return atl::gpu::Run({{"Name", Function}, ...}); }
#pragma once

#include <cstdint>
#include <functional>
#include <iostream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "comms/collectives/nccl/gpu_api.h"
#include "comms/collectives/nccl/gpu_status.h"

namespace atl::gpu {

// Of libatoll_gpu.so, loaded from the folder that ATOLL_GPU_FOLDER names (ctest sets it).
const AtollGpuApi& Api();
// How many GPUs there are. Ends the program with kSkipped where there is none; where
// ATOLL_GPU_REQUIRED is set, with 1.
int Gpus();
inline constexpr int kSkipped = 77;

// Runs all, prints a line for each; the exit code of main.
int Run(const std::vector<std::pair<std::string, std::function<void()>>>& tests);

void Failed(const char* file, int line, const std::string& what);  // thread-safe

// Bytes of device memory with a copy of host memory, or zeros.
class DeviceBytes {
 public:
  explicit DeviceBytes(size_t bytes);
  DeviceBytes(const void* data, size_t bytes);
  ~DeviceBytes();
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;
  uint8_t* data() const { return static_cast<uint8_t*>(data_); }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  std::vector<uint8_t> Read() const;  // waits for the default stream

 private:
  void* data_ = nullptr;
  const size_t bytes_;
};

}  // namespace atl::gpu

#define CHECK_THAT(condition, message)                     \
  do {                                                     \
    if (!(condition)) {                                    \
      std::ostringstream text_;                            \
      text_ << #condition << ": " << message; /* NOLINT */ \
      ::atl::gpu::Failed(__FILE__, __LINE__, text_.str()); \
    }                                                      \
  } while (false)

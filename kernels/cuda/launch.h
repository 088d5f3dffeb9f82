// The kernels on a GPU: AddMasks, QuantizeStochastic, PackLanes and AddPacked over device memory,
// with the same bytes as a result.
//
// `stream` is a cudaStream_t (nullptr: the default one) of the current device; memory is that
// device's. Work is queued and not waited for. Each function returns an empty string, or what
// failed: the CUDA call, its error's name and text. A failure of the queued work itself shows in
// the caller's next synchronisation.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "kernels/cuda/tasks.h"

namespace atl::kernels::cuda {

// lanes +-= the streams of all keys. Keys' copies on the device are zeroed behind the work.
std::string AddMasks(const DeviceLanes& lanes, uint64_t first_element,
                     std::span<const MaskKey> keys, MaskCipher cipher, void* stream);

// The number of saturated values is added to *saturated (device memory).
std::string QuantizeStochastic(const DeviceUpdate& update, const QuantizeOptions& options,
                               const DeviceLanes& lanes, unsigned long long* saturated,
                               void* stream);

// packed: ceil(elements * sum_bits / 8) bytes.
std::string PackLanes(const DeviceLanes& lanes, uint32_t sum_bits, uint8_t* packed, void* stream);
std::string AddPacked(const uint8_t* packed, uint32_t sum_bits, const DeviceLanes& lanes,
                      void* stream);

}  // namespace atl::kernels::cuda

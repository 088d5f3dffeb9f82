#include "kernels/pack.h"

#include <cassert>

#include "kernels/cpu/pack_kernels.h"

namespace atl::kernels {
namespace {

const cpu::PackKernel& FirstSupported() {
  for (const cpu::PackKernel& kernel : cpu::PackKernels()) {
    if (kernel.supported()) return kernel;
  }
  __builtin_unreachable();  // the last one runs everywhere
}

const cpu::PackKernel& BestKernel() {
  static const cpu::PackKernel& best = FirstSupported();
  return best;
}

cpu::PackShape Shape(uint32_t lane_bytes, uint32_t sum_bits, uint64_t elements, size_t lanes_size,
                     size_t packed_size) {
  const cpu::PackShape shape{.lane_bytes = lane_bytes, .bits = sum_bits, .elements = elements};
  assert(lane_bytes == 1 || lane_bytes == 2 || lane_bytes == 4 || lane_bytes == 8);
  assert(sum_bits >= 1 && sum_bits <= 8 * lane_bytes);
  assert(lanes_size >= elements * lane_bytes && packed_size >= shape.packed_bytes());
  return shape;
}

}  // namespace

void PackLanes(std::span<const uint8_t> lanes, uint32_t lane_bytes, uint32_t sum_bits,
               uint64_t elements, std::span<uint8_t> packed) {
  BestKernel().pack(Shape(lane_bytes, sum_bits, elements, lanes.size(), packed.size()),
                    lanes.data(), packed.data());
}

void UnpackLanes(std::span<const uint8_t> packed, uint32_t lane_bytes, uint32_t sum_bits,
                 uint64_t elements, std::span<uint8_t> lanes) {
  BestKernel().unpack(Shape(lane_bytes, sum_bits, elements, lanes.size(), packed.size()),
                      packed.data(), false, lanes.data());
}

void AddPacked(std::span<const uint8_t> packed, uint32_t lane_bytes, uint32_t sum_bits,
               uint64_t elements, std::span<uint8_t> lanes) {
  BestKernel().unpack(Shape(lane_bytes, sum_bits, elements, lanes.size(), packed.size()),
                      packed.data(), true, lanes.data());
}

}  // namespace atl::kernels

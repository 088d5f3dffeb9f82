// The implementations behind PackLanes, UnpackLanes and AddPacked, each by itself, for the
// dispatcher and tests.
#pragma once

#include <cstdint>
#include <span>

namespace atl::kernels::cpu {

// Lanes and the fields they are packed to or unpacked from.
struct PackShape {
  uint32_t lane_bytes = 4;  // 1, 2, 4 or 8
  uint32_t bits = 0;        // of a field: 1 to 8 * lane_bytes
  uint64_t elements = 0;

  uint64_t packed_bytes() const { return (elements * bits + 7) / 8; }
};

struct PackKernel {
  const char* name;
  bool (*supported)();  // by this CPU
  void (*pack)(const PackShape& shape, const uint8_t* lanes, uint8_t* packed);
  // add: the fields are added to the lanes, else they replace them.
  void (*unpack)(const PackShape& shape, const uint8_t* packed, bool add, uint8_t* lanes);
};

// Every implementation compiled in, fastest first; the last one runs everywhere.
std::span<const PackKernel> PackKernels();

void PackPortable(const PackShape& shape, const uint8_t* lanes, uint8_t* packed);
void UnpackPortable(const PackShape& shape, const uint8_t* packed, bool add, uint8_t* lanes);

#if defined(__x86_64__)
void PackAvx512(const PackShape& shape, const uint8_t* lanes, uint8_t* packed);
void UnpackAvx512(const PackShape& shape, const uint8_t* packed, bool add, uint8_t* lanes);
void PackAvx2(const PackShape& shape, const uint8_t* lanes, uint8_t* packed);
void UnpackAvx2(const PackShape& shape, const uint8_t* packed, bool add, uint8_t* lanes);
#endif

}  // namespace atl::kernels::cpu

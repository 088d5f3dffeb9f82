// What the mask kernels are compared with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace atl::bench {

// 14 AES rounds for each block, on blocks that never leave the registers, in the widest vectors of
// this CPU: nothing that runs every round of every block can be faster on one core. Encrypts at
// least `bytes` bytes and returns how many; 0 where the CPU has no AES instructions.
uint64_t AesRounds(uint64_t bytes);

// AES-256-CTR by OpenSSL into a buffer that fits the first-level cache, then added to the lanes.
class OpenSslMasks {
 public:
  OpenSslMasks();
  ~OpenSslMasks();
  OpenSslMasks(const OpenSslMasks&) = delete;
  OpenSslMasks& operator=(const OpenSslMasks&) = delete;
  void Add(std::span<uint8_t> lanes, uint32_t lane_bytes);

 private:
  void* context_;
};

}  // namespace atl::bench

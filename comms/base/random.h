// Two sources of randomness of different types, so that a key can never be drawn from a seed.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "comms/base/bytes.h"
#include "comms/base/secret.h"

namespace atl {

// Random bytes for keys and privacy noise. Production code uses SystemRandom(); only tests
// implement another.
class SecretRandom {
 public:
  virtual ~SecretRandom() = default;
  virtual void Fill(std::span<uint8_t> out) = 0;
  Secret32 Draw32() {
    Secret32 out;
    Fill(out.span());
    return out;
  }
};

// The operating system's generator (getrandom). Thread-safe. Ends the process if the system has
// none.
SecretRandom& SystemRandom();

// Where a seeded stream is used. The stream's key is HKDF-SHA256(seed, label, round, site, rank).
struct SeededStream {
  uint64_t seed = 0;
  std::string_view label = {};
  uint32_t round = 0;
  uint32_t site = 0;
  uint32_t rank = 0;
};

// The 32-byte key of a seeded stream, for kernels that take a key themselves.
Digest SeededKey(const SeededStream& stream);

// Reproducible numbers: the same on every machine and compiler (no std distributions). Not for
// secrets.
class SeededRandom {
 public:
  explicit SeededRandom(const SeededStream& stream);

  uint64_t Next();                 // 64 uniform bits
  uint64_t Below(uint64_t bound);  // uniform in [0, bound), unbiased; bound > 0
  double Uniform();                // in [0, 1), 53 bits
  double Normal();                 // mean 0, variance 1
  double Gamma(double shape);      // shape > 0, scale 1 (Marsaglia and Tsang, 2000)
  std::vector<double> Dirichlet(double alpha, size_t count);  // sums to 1; alpha > 0
  template <typename T>
  void Shuffle(std::span<T> items) {  // Fisher and Yates
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[Below(i)]);
  }

 private:
  uint64_t state_[4];  // xoshiro256** (Blackman and Vigna, 2021), seeded from SeededKey
};

}  // namespace atl

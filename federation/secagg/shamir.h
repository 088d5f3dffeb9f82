// Shamir's secret sharing (Shamir, 1979), byte by byte over GF(2^8) with the AES polynomial x^8 +
// x^4 + x^3 + x + 1. Time and memory access depend on the threshold, the count and the points x,
// never on a secret or a share.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/random.h"
#include "comms/base/secret.h"

namespace atl::secagg {

// Product and inverse in GF(2^8); the inverse of 0 is 0. Constant time.
uint8_t GfMultiply(uint8_t a, uint8_t b);
uint8_t GfInverse(uint8_t a);

// A share: the polynomials' values at x.
struct ShamirShare {
  uint8_t x = 0;  // 1 to 255
  Secret32 y;
};

// Shares of `secret` at x = 1, 2, ..., count; any `threshold` of them give it back, fewer say
// nothing of it. The coefficients are drawn from `random`. INVALID_ARGUMENT unless 1 <= threshold
// <= count <= 255.
absl::StatusOr<std::vector<Secret32>> SplitSecret(const Secret32& secret, uint32_t threshold,
                                                  uint32_t count, SecretRandom& random);

// The secret from exactly as many shares as the threshold. INVALID_ARGUMENT for no share, a share
// at x = 0 or two at one x. Wrong or too few shares give a wrong secret: the caller must check it
// against a commitment.
absl::StatusOr<Secret32> CombineShares(std::span<const ShamirShare> shares);

}  // namespace atl::secagg

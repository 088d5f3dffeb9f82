#include "federation/secagg/shamir.h"

#include <array>
#include <cstring>

#include "comms/base/status.h"

namespace atl::secagg {
namespace {

constexpr uint32_t kPointsMax = 255;

// 32 field elements, eight to a word: every operation treats the bytes of a word alike.
using Block = std::array<uint64_t, 4>;

Block Load(const Secret32& secret) {
  Block block;
  std::memcpy(block.data(), secret.data(), sizeof(block));
  return block;
}

Secret32 Store(const Block& block) {
  Secret32 secret;
  std::memcpy(secret.span().data(), block.data(), sizeof(block));
  return secret;
}

void WipeBlock(Block& block) { Wipe({reinterpret_cast<uint8_t*>(block.data()), sizeof(block)}); }

// Each byte times x, the polynomial's variable.
uint64_t Double(uint64_t word) {
  const uint64_t high = word & 0x8080808080808080u;
  return ((word ^ high) << 1) ^ ((high >> 7) * 0x1b);
}

// target = target * factor + term, the factor being a public point.
void MultiplyAdd(Block& target, uint8_t factor, const Block& term) {
  for (size_t i = 0; i < target.size(); ++i) {
    uint64_t power = target[i], product = 0;
    for (int bit = 0; bit < 8; ++bit) {
      product ^= power & (uint64_t{0} - ((factor >> bit) & 1u));
      power = Double(power);
    }
    target[i] = product ^ term[i];
  }
}

}  // namespace

uint8_t GfMultiply(uint8_t a, uint8_t b) {
  uint8_t power = a, product = 0;
  for (int bit = 0; bit < 8; ++bit) {
    product ^= static_cast<uint8_t>(power & (0u - ((b >> bit) & 1u)));
    power = static_cast<uint8_t>(Double(power));
  }
  return product;
}

uint8_t GfInverse(uint8_t a) {
  // a^254 = a^(2 + 4 + ... + 128).
  uint8_t square = a, product = 1;
  for (int i = 0; i < 7; ++i) {
    square = GfMultiply(square, square);
    product = GfMultiply(product, square);
  }
  return product;
}

absl::StatusOr<std::vector<Secret32>> SplitSecret(const Secret32& secret, uint32_t threshold,
                                                  uint32_t count, SecretRandom& random) {
  if (threshold < 1 || threshold > count || count > kPointsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("sharing: threshold ", threshold, " of ", count,
                     " shares: must be 1 <= threshold <= shares <= ", kPointsMax));
  }
  std::vector<Block> coefficients(threshold);  // [0] is the secret
  coefficients[0] = Load(secret);
  for (uint32_t i = 1; i < threshold; ++i) coefficients[i] = Load(random.Draw32());
  std::vector<Secret32> shares;
  shares.reserve(count);
  for (uint32_t x = 1; x <= count; ++x) {
    Block value{};
    for (uint32_t i = threshold; i-- > 0;) {
      MultiplyAdd(value, static_cast<uint8_t>(x), coefficients[i]);
    }
    shares.push_back(Store(value));
    WipeBlock(value);
  }
  for (Block& block : coefficients) WipeBlock(block);
  return shares;
}

absl::StatusOr<Secret32> CombineShares(std::span<const ShamirShare> shares) {
  if (shares.empty()) return absl::InvalidArgumentError("sharing: no shares to combine");
  std::array<bool, 256> seen{};
  for (const ShamirShare& share : shares) {
    if (share.x == 0) return absl::InvalidArgumentError("sharing: a share at x = 0");
    if (seen[share.x]) {
      return absl::InvalidArgumentError(absl::StrCat("sharing: two shares at x = ", share.x));
    }
    seen[share.x] = true;
  }
  // Lagrange at 0: the sum of y_i times the product over j != i of x_j / (x_j - x_i).
  Block sum{};
  for (const ShamirShare& share : shares) {
    uint8_t above = 1, below = 1;
    for (const ShamirShare& other : shares) {
      if (other.x == share.x) continue;
      above = GfMultiply(above, other.x);
      below = GfMultiply(below, other.x ^ share.x);
    }
    Block term = Load(share.y);
    MultiplyAdd(term, GfMultiply(above, GfInverse(below)), sum);
    sum = term;
    WipeBlock(term);
  }
  Secret32 secret = Store(sum);
  WipeBlock(sum);
  return secret;
}

}  // namespace atl::secagg

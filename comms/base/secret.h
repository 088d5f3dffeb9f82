// Memory that is wiped when it goes.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace atl {

// Overwrites with zeros in a way the compiler keeps.
void Wipe(std::span<uint8_t> bytes);

// N secret bytes, wiped on destruction and when moved from. Compares in constant time. Never
// printed.
template <size_t N>
class SecretArray {
 public:
  SecretArray() { bytes_.fill(0); }
  explicit SecretArray(std::span<const uint8_t, N> bytes) {
    std::copy(bytes.begin(), bytes.end(), bytes_.begin());
  }
  SecretArray(const SecretArray&) = default;
  SecretArray& operator=(const SecretArray&) = default;
  SecretArray(SecretArray&& other) noexcept : bytes_(other.bytes_) { Wipe(other.bytes_); }
  SecretArray& operator=(SecretArray&& other) noexcept {
    if (this != &other) {
      bytes_ = other.bytes_;
      Wipe(other.bytes_);
    }
    return *this;
  }
  ~SecretArray() { Wipe(bytes_); }

  std::span<uint8_t, N> span() { return bytes_; }
  std::span<const uint8_t, N> span() const { return bytes_; }
  const uint8_t* data() const { return bytes_.data(); }
  static constexpr size_t size() { return N; }
  bool operator==(const SecretArray& other) const {
    uint8_t difference = 0;
    for (size_t i = 0; i < N; ++i) difference |= bytes_[i] ^ other.bytes_[i];
    return difference == 0;
  }

 private:
  std::array<uint8_t, N> bytes_;
};

using Secret32 = SecretArray<32>;

}  // namespace atl

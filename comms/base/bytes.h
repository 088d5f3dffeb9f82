// Byte spans, hex, and the one canonical encoding: fixed-width little-endian integers, u64 lengths
// before bytes.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace atl {

using Bytes = std::vector<uint8_t>;
using ByteView = std::span<const uint8_t>;
using Digest = std::array<uint8_t, 32>;  // SHA-256

inline ByteView AsBytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
inline std::string_view AsText(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string Hex(ByteView bytes);  // lower case
// INVALID_ARGUMENT for an odd length or a character that is no hex digit.
absl::StatusOr<Bytes> FromHex(std::string_view hex);
absl::StatusOr<Digest> DigestFromHex(std::string_view hex);

// Appends canonical encodings to a buffer.
class ByteWriter {
 public:
  // Room for `size` more bytes, so that a buffer of secrets never moves and leaves an unwiped copy
  // behind.
  ByteWriter& Reserve(size_t size) {
    bytes_.reserve(bytes_.size() + size);
    return *this;
  }
  ByteWriter& U8(uint8_t value);
  ByteWriter& U16(uint16_t value);
  ByteWriter& U32(uint32_t value);
  ByteWriter& U64(uint64_t value);
  ByteWriter& F32(float value);       // IEEE-754 bits as U32
  ByteWriter& F64(double value);      // IEEE-754 bits as U64
  ByteWriter& Raw(ByteView bytes);    // without a length: for fields of fixed size
  ByteWriter& Sized(ByteView bytes);  // u64 length, then the bytes
  ByteWriter& Sized(std::string_view text) { return Sized(AsBytes(text)); }

  const Bytes& bytes() const& { return bytes_; }
  Bytes Take() && { return std::move(bytes_); }

 private:
  Bytes bytes_;
};

// Reads canonical encodings. The first error sticks: later reads return zeros and empty values, and
// Finish() says what was wrong, so that a decoder checks once. Never reads outside the span it was
// given, and never allocates more than what is left in it.
class ByteReader {
 public:
  explicit ByteReader(ByteView bytes) : left_(bytes) {}
  uint8_t U8();
  uint16_t U16();
  uint32_t U32();
  uint64_t U64();
  float F32();
  double F64();
  template <size_t N>
  std::array<uint8_t, N> Array() {
    std::array<uint8_t, N> out{};
    ByteView view = Raw(N);
    if (view.size() == N) std::copy(view.begin(), view.end(), out.begin());
    return out;
  }
  ByteView Raw(uint64_t size);            // a view into the input
  ByteView SizedView(uint64_t max_size);  // fails when the length is over max_size
  Bytes Sized(uint64_t max_size);
  std::string SizedText(uint64_t max_size);
  // A u32 count of items that each take at least min_item_bytes; 0 and an error when they cannot
  // all be there.
  uint32_t Count(uint32_t max_count, uint64_t min_item_bytes);
  // Records an error of the caller's own ("set is not sorted").
  void Fail(std::string_view why);

  bool ok() const { return error_.empty(); }
  ByteView rest() const { return left_; }
  // OK when no read failed and nothing is left; else INVALID_ARGUMENT "what: why".
  absl::Status Finish(std::string_view what) const;

 private:
  ByteView left_;
  std::string error_;
};

}  // namespace atl

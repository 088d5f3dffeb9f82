#include "comms/base/bytes.h"

#include <bit>

#include "comms/base/status.h"

namespace atl {
namespace {

// The value of a hex digit, or -1.
int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

template <typename T>
void PutLittleEndian(T value, Bytes& out) {
  for (size_t i = 0; i < sizeof(T); ++i) out.push_back(static_cast<uint8_t>(value >> (8 * i)));
}

template <typename T>
T GetLittleEndian(ByteView bytes) {
  T value = 0;
  for (size_t i = 0; i < bytes.size(); ++i) value |= static_cast<T>(bytes[i]) << (8 * i);
  return value;
}

}  // namespace

std::string Hex(ByteView bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (uint8_t byte : bytes) {
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15]);
  }
  return text;
}

absl::StatusOr<Bytes> FromHex(std::string_view hex) {
  if (hex.size() % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("hex: ", hex.size(), " digits, must be an even number"));
  }
  Bytes bytes(hex.size() / 2);
  for (size_t i = 0; i < hex.size(); ++i) {
    const int digit = HexDigit(hex[i]);
    if (digit < 0) {
      return absl::InvalidArgumentError(absl::StrCat("hex: byte ",
                                                     static_cast<int>(static_cast<uint8_t>(hex[i])),
                                                     " at position ", i, " is no hex digit"));
    }
    bytes[i / 2] = static_cast<uint8_t>(bytes[i / 2] << 4 | digit);
  }
  return bytes;
}

absl::StatusOr<Digest> DigestFromHex(std::string_view hex) {
  Digest digest{};
  if (hex.size() != 2 * digest.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("digest: ", hex.size(), " hex digits, must be ", 2 * digest.size()));
  }
  ATOLL_ASSIGN_OR_RETURN(const Bytes bytes, FromHex(hex));
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

ByteWriter& ByteWriter::U8(uint8_t value) {
  bytes_.push_back(value);
  return *this;
}
ByteWriter& ByteWriter::U16(uint16_t value) {
  PutLittleEndian(value, bytes_);
  return *this;
}
ByteWriter& ByteWriter::U32(uint32_t value) {
  PutLittleEndian(value, bytes_);
  return *this;
}
ByteWriter& ByteWriter::U64(uint64_t value) {
  PutLittleEndian(value, bytes_);
  return *this;
}
ByteWriter& ByteWriter::F32(float value) { return U32(std::bit_cast<uint32_t>(value)); }
ByteWriter& ByteWriter::F64(double value) { return U64(std::bit_cast<uint64_t>(value)); }
ByteWriter& ByteWriter::Raw(ByteView bytes) {
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  return *this;
}
ByteWriter& ByteWriter::Sized(ByteView bytes) { return U64(bytes.size()).Raw(bytes); }

uint8_t ByteReader::U8() { return GetLittleEndian<uint8_t>(Raw(1)); }
uint16_t ByteReader::U16() { return GetLittleEndian<uint16_t>(Raw(2)); }
uint32_t ByteReader::U32() { return GetLittleEndian<uint32_t>(Raw(4)); }
uint64_t ByteReader::U64() { return GetLittleEndian<uint64_t>(Raw(8)); }
float ByteReader::F32() { return std::bit_cast<float>(U32()); }
double ByteReader::F64() { return std::bit_cast<double>(U64()); }

ByteView ByteReader::Raw(uint64_t size) {
  if (!ok()) return {};
  if (size > left_.size()) {
    Fail(absl::StrCat("truncated: needs ", size, " more bytes, ", left_.size(), " are left"));
    return {};
  }
  const ByteView view = left_.first(size);
  left_ = left_.subspan(size);
  return view;
}

ByteView ByteReader::SizedView(uint64_t max_size) {
  const uint64_t size = U64();
  if (ok() && size > max_size) {
    Fail(absl::StrCat("a field of ", size, " bytes, at most ", max_size, " are allowed"));
  }
  return Raw(size);
}

Bytes ByteReader::Sized(uint64_t max_size) {
  const ByteView view = SizedView(max_size);
  return {view.begin(), view.end()};
}

std::string ByteReader::SizedText(uint64_t max_size) {
  const ByteView view = SizedView(max_size);
  return {view.begin(), view.end()};
}

uint32_t ByteReader::Count(uint32_t max_count, uint64_t min_item_bytes) {
  const uint32_t count = U32();
  if (!ok()) return 0;
  if (count > max_count) {
    Fail(absl::StrCat("a list of ", count, " items, at most ", max_count, " are allowed"));
    return 0;
  }
  if (min_item_bytes > 0 && count > left_.size() / min_item_bytes) {
    Fail(absl::StrCat("truncated: ", count, " items of at least ", min_item_bytes, " bytes, ",
                      left_.size(), " bytes are left"));
    return 0;
  }
  return count;
}

void ByteReader::Fail(std::string_view why) {
  if (ok()) error_ = why.empty() ? "malformed" : std::string(why);
}

absl::Status ByteReader::Finish(std::string_view what) const {
  if (!ok()) return absl::InvalidArgumentError(absl::StrCat(std::string(what), ": ", error_));
  if (!left_.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(what), ": ", left_.size(), " bytes too many at the end"));
  }
  return absl::OkStatus();
}

}  // namespace atl

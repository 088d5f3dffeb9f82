// UTF-8 (RFC 3629), a character at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace atl::trainer {

struct Utf8Char {
  uint32_t code = 0;  // 0xFFFD where the bytes are no UTF-8
  uint32_t size = 1;  // bytes taken, 1 for each that is wrong
  bool valid = false;
};

// The character at text[at], at < text.size(). Overlong forms, surrogates and what is over 0x10FFFF
// are not valid.
inline Utf8Char DecodeUtf8(std::string_view text, size_t at) {
  auto byte = [&](size_t i) -> uint32_t { return static_cast<uint8_t>(text[at + i]); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  const uint32_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  const Utf8Char wrong{0xfffd, 1, false};
  if (lead < 0xc2 || lead > 0xf4 || text.size() - at < size) return wrong;
  uint32_t code = lead & (0x7fu >> size);
  for (uint32_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return wrong;
    code = code << 6 | (byte(i) & 0x3f);
  }
  constexpr uint32_t kSmallest[5] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < kSmallest[size] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return wrong;
  return {code, size, true};
}

// The first byte that is no UTF-8, or text.size().
size_t FirstInvalidUtf8(std::string_view text);

}  // namespace atl::trainer

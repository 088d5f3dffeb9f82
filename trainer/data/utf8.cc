#include "trainer/data/utf8.h"

#include <cstring>

namespace atl::trainer {

size_t FirstInvalidUtf8(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    // Eight bytes of ASCII at once.
    uint64_t word;
    if (text.size() - at >= sizeof(word)) {
      std::memcpy(&word, text.data() + at, sizeof(word));
      if ((word & 0x8080808080808080) == 0) {
        at += sizeof(word);
        continue;
      }
    }
    const Utf8Char next = DecodeUtf8(text, at);
    if (!next.valid) return at;
    at += next.size;
  }
  return at;
}

}  // namespace atl::trainer

#include "trainer/data/ngrams.h"

#include <algorithm>
#include <string>

#include "trainer/data/utf8.h"

namespace atl::trainer {
namespace {

constexpr uint64_t kFnvOffset = 14695981039346656037u;
constexpr uint64_t kFnvPrime = 1099511628211u;

int64_t BucketOf(uint64_t hash, uint32_t buckets) {
  hash ^= hash >> 32;
  hash *= 0xd6e8feb86659fd93u;
  hash ^= hash >> 32;
  return static_cast<int64_t>((hash >> 32) * buckets >> 32);
}

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

}  // namespace

void AppendNgrams(std::string_view text, uint32_t longest, uint32_t buckets,
                  std::vector<int64_t>& out) {
  std::string clean = " ";
  std::vector<uint32_t> starts = {0};  // of the characters in `clean`, and its end
  for (size_t at = 0; at < text.size() && starts.size() < kMaxNgramCharacters;) {
    const uint32_t size = IsSpace(text[at]) ? 1 : DecodeUtf8(text, at).size;
    if (!IsSpace(text[at])) {
      starts.push_back(static_cast<uint32_t>(clean.size()));
      clean.append(text, at, size);
    } else if (clean.back() != ' ') {
      starts.push_back(static_cast<uint32_t>(clean.size()));
      clean += ' ';
    }
    at += size;
  }
  if (clean.back() != ' ') {
    starts.push_back(static_cast<uint32_t>(clean.size()));
    clean += ' ';
  }
  const size_t characters = starts.size();
  starts.push_back(static_cast<uint32_t>(clean.size()));
  out.reserve(out.size() + characters * longest);
  for (size_t first = 0; first < characters; ++first) {
    uint64_t hash = kFnvOffset;
    const size_t last = std::min<size_t>(characters, first + longest);
    for (size_t end = first; end < last; ++end) {
      for (uint32_t i = starts[end]; i < starts[end + 1]; ++i) {
        hash = (hash ^ static_cast<uint8_t>(clean[i])) * kFnvPrime;
      }
      if (end == first && clean[starts[first]] == ' ') continue;
      out.push_back(BucketOf(hash, buckets));
    }
  }
}

}  // namespace atl::trainer

// Hashed character n-grams (as in fastText, Joulin et al., 1607.01759).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace atl::trainer {

inline constexpr uint32_t kMaxNgramCharacters = 4096;  // of a text; what follows is not looked at

// Appends the bucket of each n-gram of 1 to `longest` UTF-8 characters of the text, with spaces at
// its ends and runs of spaces, tabs and line ends taken as one; the n-gram that is a space alone is
// left out. A byte that is no UTF-8 counts as a character.
//
// The hash of an n-gram is 64-bit FNV-1a over its bytes (offset 14695981039346656037, prime
// 1099511628211), then h ^= h >> 32, h *= 0xd6e8feb86659fd93, h ^= h >> 32; its bucket
// (h >> 32) * buckets >> 32. buckets > 0, longest > 0.
void AppendNgrams(std::string_view text, uint32_t longest, uint32_t buckets,
                  std::vector<int64_t>& out);

}  // namespace atl::trainer

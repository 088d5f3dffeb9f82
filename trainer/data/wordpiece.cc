#include "trainer/data/wordpiece.h"

#include <unicode/uchar.h>
#include <unicode/unorm2.h>

#include <algorithm>
#include <array>

#include "comms/base/status.h"
#include "trainer/data/text_table.h"
#include "trainer/data/utf8.h"

namespace atl::trainer {
namespace {

constexpr size_t kMaxTokens = size_t{1} << 24;
constexpr size_t kMaxTokenBytes = 1024;
constexpr size_t kMaxWordCharacters = 100;  // as BERT's: a longer word is unknown

absl::string_view Abs(std::string_view text) { return {text.data(), text.size()}; }

enum class Kind : uint8_t { kLetter, kSpace, kPunctuation, kChinese, kDropped };

bool IsChinese(uint32_t c) {
  return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
         (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
         (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b820 && c <= 0x2ceaf) ||
         (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

bool IsAsciiPunctuation(uint32_t c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
         (c >= '{' && c <= '~');
}

Kind KindOf(uint32_t c) {
  if (c == '\t' || c == '\n' || c == '\r') return Kind::kSpace;
  if (c == 0 || c == 0xfffd) return Kind::kDropped;
  const uint32_t category = U_MASK(u_charType(static_cast<UChar32>(c)));
  if (category & (U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK | U_GC_CS_MASK)) return Kind::kDropped;
  if (u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_WHITE_SPACE)) return Kind::kSpace;
  if (IsChinese(c)) return Kind::kChinese;
  if (IsAsciiPunctuation(c) || (category & U_GC_P_MASK)) return Kind::kPunctuation;
  return Kind::kLetter;
}

void AppendUtf8(uint32_t c, std::string& out) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xc0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xe0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3f));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  }
}

// A character's full canonical decomposition without accents (category Mn), in lower case.
// Returns how many characters are in `out`.
size_t Plain(uint32_t c, std::array<uint32_t, 32>& out) {
  if (c < 0x80) {
    out[0] = c >= 'A' && c <= 'Z' ? c + 32 : c;
    return 1;
  }
  UErrorCode error = U_ZERO_ERROR;
  const UNormalizer2* nfd = unorm2_getNFDInstance(&error);
  std::array<UChar, 32> units;
  int32_t count = U_FAILURE(error) ? -1
                                   : unorm2_getDecomposition(nfd, static_cast<UChar32>(c),
                                                             units.data(), units.size(), &error);
  if (U_FAILURE(error)) count = -1;
  size_t size = 0;
  auto add = [&](UChar32 part) {
    if (u_charType(part) != U_NON_SPACING_MARK)
      out[size++] = static_cast<uint32_t>(u_tolower(part));
  };
  if (count < 0) add(static_cast<UChar32>(c));
  for (int32_t i = 0; i < count;) {
    UChar32 part;
    U16_NEXT(units.data(), i, count, part);
    add(part);
  }
  return size;
}

bool HasCapital(std::string_view token) {
  for (size_t at = 0; at < token.size();) {
    const Utf8Char next = DecodeUtf8(token, at);
    if (u_charType(static_cast<UChar32>(next.code)) == U_UPPERCASE_LETTER) return true;
    at += next.size;
  }
  return false;
}

// [UNK], [CLS], [unused7]: what no text is made of.
bool IsSpecial(std::string_view token) {
  return token.size() > 2 && token.front() == '[' && token.back() == ']';
}

}  // namespace

int32_t WordPieceTokenizer::IdOf(std::string_view token) const {
  const auto found = starts_.find(token);
  return found == starts_.end() ? -1 : found->second;
}

absl::StatusOr<std::unique_ptr<WordPieceTokenizer>> WordPieceTokenizer::Parse(
    std::string_view file, std::string_view name) {
  std::unique_ptr<WordPieceTokenizer> out(new WordPieceTokenizer());
  for (uint32_t id = 0; !file.empty(); ++id) {
    const size_t size = std::min(file.find('\n'), file.size());
    std::string_view token = file.substr(0, size);
    file.remove_prefix(std::min(size + 1, file.size()));
    if (!token.empty() && token.back() == '\r') token.remove_suffix(1);
    absl::Status status = CheckText(token, kMaxTokenBytes, "token");
    if (status.ok() && id == kMaxTokens) {
      status = absl::InvalidArgumentError(absl::StrCat("over ", kMaxTokens, " tokens"));
    }
    if (!status.ok()) return Annotate(status, absl::StrCat(Abs(name), ":", id + 1));
    out->vocabulary_ = id + 1;
    out->longest_ = std::max(out->longest_, token.size());
    const bool continues = token.size() > 2 && token.substr(0, 2) == "##";
    Pieces& pieces = continues ? out->continuations_ : out->starts_;
    pieces.insert_or_assign(std::string(continues ? token.substr(2) : token),
                            static_cast<int32_t>(id));
    if (!IsSpecial(token) && HasCapital(token)) out->uncased_ = false;
  }
  out->unk_ = out->IdOf("[UNK]");
  out->cls_ = out->IdOf("[CLS]");
  out->sep_ = out->IdOf("[SEP]");
  out->pad_ = out->IdOf("[PAD]");
  out->mask_ = out->IdOf("[MASK]");
  if (out->unk_ < 0) return Annotate(absl::InvalidArgumentError("no token [UNK]"), name);
  return out;
}

void WordPieceTokenizer::AddWord(std::string_view word, size_t characters,
                                 std::vector<int32_t>& out) const {
  if (word.empty()) return;
  const size_t first = out.size();
  size_t begin = 0;
  while (begin < word.size() && characters <= kMaxWordCharacters) {
    const Pieces& pieces = begin == 0 ? starts_ : continuations_;
    size_t size = std::min(word.size() - begin, longest_);
    auto found = pieces.end();
    for (; size > 0; --size) {
      // Not within a character; a piece is UTF-8.
      if (begin + size < word.size() && (word[begin + size] & 0xc0) == 0x80) continue;
      found = pieces.find(word.substr(begin, size));
      if (found != pieces.end()) break;
    }
    if (size == 0) break;
    out.push_back(found->second);
    begin += size;
  }
  if (begin < word.size()) {
    out.resize(first);
    out.push_back(unk_);
  }
}

std::vector<int32_t> WordPieceTokenizer::Encode(std::string_view text, size_t max_tokens) const {
  std::vector<int32_t> out;
  std::string word;
  size_t characters = 0;
  auto end_word = [&] {
    AddWord(word, characters, out);
    word.clear();
    characters = 0;
  };
  std::array<uint32_t, 32> parts;
  for (size_t at = 0; at < text.size() && out.size() < max_tokens;) {
    const Utf8Char next = DecodeUtf8(text, at);
    at += next.size;
    const Kind kind = KindOf(next.code);
    if (kind == Kind::kDropped) continue;
    if (kind == Kind::kSpace) {
      end_word();
      continue;
    }
    if (kind == Kind::kChinese) end_word();
    size_t count = 1;
    parts[0] = next.code;
    if (uncased_) count = Plain(next.code, parts);
    for (size_t i = 0; i < count; ++i) {
      // A part of a decomposition may be punctuation where the whole is not.
      const bool apart = KindOf(parts[i]) == Kind::kPunctuation;
      if (apart) end_word();
      AppendUtf8(parts[i], word);
      ++characters;
      if (apart) end_word();
    }
    if (kind == Kind::kChinese) end_word();
  }
  end_word();
  if (out.size() > max_tokens) out.resize(max_tokens);
  return out;
}

}  // namespace atl::trainer

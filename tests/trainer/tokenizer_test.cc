// Tokenizers, held to the ids of the programs that they are to be equal to.
#include "trainer/data/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "comms/base/files.h"
#include "nlohmann/json.hpp"
#include "trainer/data/wordpiece.h"

namespace atl::trainer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::filesystem::path Reference(const std::string& name) {
  return std::filesystem::path(std::getenv("ATOLL_SOURCE_DIR")) / "tests/trainer/references" / name;
}

std::string Join(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& line : lines) out += line + "\n";
  return out;
}

TEST(BytesTest, EachByteIsATokenAfterTheSpecialOnes) {
  const auto tokenizer = *LoadTokenizer({});
  EXPECT_EQ(tokenizer->vocabulary(), 260u);
  EXPECT_THAT(tokenizer->Encode(std::string("a\0\xff", 3), 10), ElementsAre(101, 4, 259));
  EXPECT_THAT(tokenizer->Encode("abc", 2), ElementsAre(101, 102));
  EXPECT_EQ(tokenizer->padding_id(), 0);
  EXPECT_EQ(tokenizer->begin_id(), 1);
  EXPECT_EQ(tokenizer->end_id(), 2);
  EXPECT_EQ(tokenizer->mask_id(), 3);
}

TEST(WordPieceTest, GivesTheIdsOfTheReference) {
  const Bytes bytes = *ReadFile(Reference("wordpiece.json"), 1 << 20);
  const auto cases = nlohmann::json::parse(bytes.begin(), bytes.end());
  ASSERT_EQ(cases.size(), 2u);
  for (const auto& one : cases) {
    const auto vocabulary = one["vocabulary"].get<std::vector<std::string>>();
    const auto tokenizer = WordPieceTokenizer::Parse(Join(vocabulary), "vocab.txt");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    EXPECT_EQ((*tokenizer)->uncased(), one["name"] == "uncased");
    EXPECT_EQ((*tokenizer)->vocabulary(), vocabulary.size());
    ASSERT_GT(one["texts"].size(), 100u);
    for (const auto& row : one["texts"]) {
      EXPECT_EQ((*tokenizer)->Encode(row["text"].get<std::string>(), 1000),
                row["ids"].get<std::vector<int32_t>>())
          << one["name"] << ": " << row["text"];
    }
  }
}

TEST(WordPieceTest, ReadsLineEndsSpecialTokensAndRepeats) {
  const auto tokenizer = WordPieceTokenizer::Parse("[PAD]\r\n[UNK]\r\na\r\n##b\na\n[CLS]", "v");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocabulary(), 6u);
  EXPECT_THAT((*tokenizer)->Encode("ab c", 10), ElementsAre(4, 3, 1));  // the last `a` counts
  EXPECT_THAT((*tokenizer)->Encode("ab ab ab", 3), ElementsAre(4, 3, 4));
  EXPECT_EQ((*tokenizer)->padding_id(), 0);
  EXPECT_EQ((*tokenizer)->begin_id(), 5);
  EXPECT_EQ((*tokenizer)->end_id(), -1);
  EXPECT_EQ((*tokenizer)->mask_id(), -1);
}

TEST(WordPieceTest, TakesAnyBytes) {
  const auto tokenizer = WordPieceTokenizer::Parse("[UNK]\na\n##a\n", "v");
  ASSERT_TRUE(tokenizer.ok());
  // What is no UTF-8 is dropped, as U+FFFD is.
  EXPECT_THAT((*tokenizer)->Encode("a\xff\xc3", 10), ElementsAre(1));
  EXPECT_THAT((*tokenizer)->Encode("\xe4\xb8", 10), ElementsAre());
}

TEST(WordPieceTest, RefusesWhatIsNoVocabulary) {
  auto error = [](const std::string& file) {
    const absl::Status status = WordPieceTokenizer::Parse(file, "vocab.txt").status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  };
  EXPECT_EQ(error(""), "vocab.txt: no token [UNK]");
  EXPECT_EQ(error("a\nb\n"), "vocab.txt: no token [UNK]");
  EXPECT_EQ(error("[UNK]\na\xff\n"), "vocab.txt:2: token: its byte 1 is no UTF-8");
  EXPECT_EQ(error("[UNK]\n\n" + std::string(1025, 'a')),
            "vocab.txt:3: token: 1025 bytes, at most 1024");
}

TEST(SentencePieceTest, GivesTheLibrarysIds) {
  const auto tokenizer = LoadTokenizer(
      {.kind = recipes::TokenizerKind::kSentencePiece, .file = Reference("tiny.model").string()});
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocabulary(), 120u);
  EXPECT_THAT(
      (*tokenizer)->Encode("a round of masked sums", 100),
      ElementsAre(38, 5, 19, 8, 18, 21, 13, 5, 8, 27, 5, 14, 10, 6, 40, 44, 5, 6, 18, 14, 6));
  EXPECT_THAT((*tokenizer)->Encode("a round of masked sums", 3), ElementsAre(38, 5, 19));
  EXPECT_TRUE((*tokenizer)->Encode("", 100).empty());
  EXPECT_FALSE((*tokenizer)->Encode("a\xff\xc3", 100).empty());  // any bytes
  EXPECT_EQ((*tokenizer)->begin_id(), 1);
  EXPECT_EQ((*tokenizer)->end_id(), 2);
  EXPECT_EQ((*tokenizer)->padding_id(), 3);
  EXPECT_EQ((*tokenizer)->mask_id(), 4);
}

TEST(LoadTokenizerTest, NamesTheFile) {
  const auto folder = *TemporaryFolder::Create("atoll-tokenizer");
  const std::string path = (folder.path() / "file").string();
  using recipes::TokenizerKind;
  for (TokenizerKind kind : {TokenizerKind::kWordPiece, TokenizerKind::kSentencePiece}) {
    EXPECT_THAT(std::string(LoadTokenizer({kind, ""}).status().message()),
                HasSubstr("data.tokenizer.file"));
    const absl::Status none = LoadTokenizer({kind, path}).status();
    EXPECT_TRUE(absl::IsNotFound(none)) << none;
    EXPECT_THAT(std::string(none.message()), HasSubstr(path));
  }
  ASSERT_TRUE(WriteFileAtomic(path, AsBytes("[UNK]\na\n")).ok());
  EXPECT_TRUE(LoadTokenizer({TokenizerKind::kWordPiece, path}).ok());
  for (const std::string& bytes : {std::string("[UNK]\na\n"), std::string()}) {
    ASSERT_TRUE(WriteFileAtomic(path, AsBytes(bytes)).ok());
    const absl::Status bad = LoadTokenizer({TokenizerKind::kSentencePiece, path}).status();
    EXPECT_TRUE(absl::IsInvalidArgument(bad)) << bad;
    EXPECT_THAT(std::string(bad.message()), HasSubstr(path + ": not a SentencePiece model"));
  }
}

}  // namespace
}  // namespace atl::trainer

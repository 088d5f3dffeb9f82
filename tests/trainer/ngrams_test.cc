#include "trainer/data/ngrams.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace atl::trainer {
namespace {

using ::testing::Each;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;
using ::testing::Lt;

// The header's definition, letter for letter.
int64_t BucketOf(const std::string& ngram, uint32_t buckets) {
  uint64_t hash = 14695981039346656037u;
  for (char c : ngram) hash = (hash ^ static_cast<uint8_t>(c)) * 1099511628211u;
  hash ^= hash >> 32;
  hash *= 0xd6e8feb86659fd93u;
  hash ^= hash >> 32;
  return static_cast<int64_t>((hash >> 32) * buckets >> 32);
}

std::vector<int64_t> BucketsOf(const std::vector<std::string>& ngrams, uint32_t buckets) {
  std::vector<int64_t> out;
  for (const std::string& ngram : ngrams) out.push_back(BucketOf(ngram, buckets));
  return out;
}

std::vector<int64_t> Ngrams(std::string_view text, uint32_t longest, uint32_t buckets = 1 << 20) {
  std::vector<int64_t> out;
  AppendNgrams(text, longest, buckets, out);
  return out;
}

TEST(NgramsTest, AreOfCharactersWithSpacesAtTheEnds) {
  EXPECT_THAT(Ngrams("aé", 3),
              ElementsAreArray(BucketsOf({" a", " aé", "a", "aé", "aé ", "é", "é "}, 1 << 20)));
  EXPECT_THAT(Ngrams("a b", 1), ElementsAreArray(BucketsOf({"a", "b"}, 1 << 20)));
}

TEST(NgramsTest, RunsOfSpaceAreOne) {
  EXPECT_EQ(Ngrams(" \ta \r\n\tb  ", 4), Ngrams("a b", 4));
  EXPECT_THAT(Ngrams("", 4), IsEmpty());
  EXPECT_THAT(Ngrams(" \t ", 4), IsEmpty());
}

TEST(NgramsTest, TakeAnyBytesAndAreBounded) {
  EXPECT_THAT(Ngrams("\xff\xc3", 1), ElementsAreArray(BucketsOf({"\xff", "\xc3"}, 1 << 20)));
  EXPECT_EQ(Ngrams(std::string(1 << 20, 'a'), 1).size(), kMaxNgramCharacters - 1);
  for (uint32_t buckets : {1u, 2u, 1000u}) {
    EXPECT_THAT(Ngrams("some text to be hashed", 4, buckets), Each(Lt(buckets)));
  }
}

TEST(NgramsTest, BucketsAreUsedEvenly) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += std::to_string(i * 7919 % 10007) + " ";
  std::vector<int> counts(16);
  for (int64_t bucket : Ngrams(text, 4, 16)) ++counts[static_cast<size_t>(bucket)];
  for (int count : counts) {
    EXPECT_GT(count, 400);
    EXPECT_LT(count, 2000);
  }
}

}  // namespace
}  // namespace atl::trainer

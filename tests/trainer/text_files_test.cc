// Readers of texts: good files, and every way in which they are not.
#include "trainer/data/text_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comms/base/files.h"
#include "comms/base/random.h"
#include "trainer/data/utf8.h"

namespace atl::trainer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const TextColumns kLabelled{.label = "label"};

std::string MessageOf(const absl::Status& status) {
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  return std::string(status.message());
}
std::string CsvError(const std::string& file, const TextColumns& columns = kLabelled) {
  return MessageOf(ParseCsv(file, "a.csv", columns).status());
}
std::string JsonError(const std::string& file, const TextColumns& columns = kLabelled) {
  return MessageOf(ParseJsonLines(file, "a.jsonl", columns).status());
}

TEST(CsvTest, ReadsQuotesLineEndsAndColumnsByName) {
  const auto table = ParseCsv(
      "\xef\xbb\xbf"
      "label,other,text\r\n"
      "b,1,\"say \"\"hi\"\", then\nleave\"\r\n"
      "a,,\n"
      "b,\"\",last",
      "a.csv", kLabelled);
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_THAT(table->texts, ElementsAre("say \"hi\", then\nleave", "", "last"));
  EXPECT_THAT(table->labels.names, ElementsAre("a", "b"));
  EXPECT_THAT(table->labels.ids, ElementsAre(1, 0, 1));
  EXPECT_THAT(table->pairs, IsEmpty());
  EXPECT_THAT(table->sites.ids, IsEmpty());
}

TEST(CsvTest, NamesFileAndLine) {
  EXPECT_EQ(CsvError(""), "a.csv:0: an empty file; a header row is needed");
  EXPECT_EQ(CsvError("text\na\n"), "a.csv:1: no column 'label'");
  EXPECT_EQ(CsvError("text,label,text\n"), "a.csv:1: two columns 'text'");
  EXPECT_EQ(CsvError("text,label\na,b\nc\n"), "a.csv:3: 1 fields, but the header has 2");
  EXPECT_EQ(CsvError("text,label\n\"x\ny\",b\nc,d,e\n"), "a.csv:4: 3 fields, but the header has 2");
  EXPECT_EQ(CsvError("text,label\n\"x\ny,b\n"), "a.csv:2: a quoted field without its end");
  EXPECT_EQ(CsvError("text,label\n\"x\"y,b\n"),
            "a.csv:2: text behind a quoted field, or a lone CR");
  EXPECT_EQ(CsvError("text,label\nx\"y,b\n"), "a.csv:2: a quote within a field without quotes");
  EXPECT_EQ(CsvError("text,label\nx\xff,b\n"), "a.csv:2: text: its byte 1 is no UTF-8");
  EXPECT_EQ(CsvError("text,label\nx,\n"), "a.csv:2: label: it is empty");
  EXPECT_EQ(CsvError("text,label\nx,b\r"), "a.csv:2: text behind a quoted field, or a lone CR");
}

TEST(CsvTest, IsBounded) {
  const std::string huge(kMaxTextBytes + 1, 'x');
  EXPECT_THAT(CsvError("text,label\n" + huge + ",b\n"), HasSubstr("a.csv:2: a field of 1048577"));
  EXPECT_THAT(CsvError("text,label\n\"" + huge + "\",b\n"),
              HasSubstr("is its closing quote missing"));
  EXPECT_THAT(CsvError(std::string(2000, ',')), HasSubstr("a.csv:1: over 1024 fields"));
  EXPECT_THAT(CsvError("text,label\nx," + std::string(300, 'b')),
              HasSubstr("label: 300 bytes, at most 256"));
}

TEST(JsonLinesTest, ReadsFieldsByName) {
  const TextColumns columns{.text = "a", .pair = "b", .label = "y", .site = "s"};
  const auto table = ParseJsonLines(
      "{\"a\": \"caf\\u00e9\", \"b\": \"p\", \"y\": 10, \"s\": \"north\", \"more\": [{\"x\": "
      "1}]}\r\n"
      "\n  \n"
      "{\"s\":\"east\",\"y\":\"9\",\"b\":\"\",\"a\":\"z\"}",
      "a.jsonl", columns);
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_THAT(table->texts, ElementsAre("café", "z"));
  EXPECT_THAT(table->pairs, ElementsAre("p", ""));
  EXPECT_THAT(table->labels.names, ElementsAre("9", "10"));  // by number
  EXPECT_THAT(table->labels.ids, ElementsAre(1, 0));
  EXPECT_THAT(table->sites.names, ElementsAre("east", "north"));
  EXPECT_THAT(table->sites.ids, ElementsAre(1, 0));
}

TEST(JsonLinesTest, NamesFileAndLine) {
  const std::string good = "{\"text\":\"x\",\"label\":\"b\"}\n";
  EXPECT_EQ(JsonError(good + "\n{\"text\":\"x\""), "a.jsonl:3: no JSON (or no UTF-8)");
  EXPECT_EQ(JsonError(good + "{\"text\":\"\xff\",\"label\":\"b\"}"),
            "a.jsonl:2: no JSON (or no UTF-8)");
  EXPECT_EQ(JsonError(good + "[1]"), "a.jsonl:2: no JSON object");
  EXPECT_EQ(JsonError("{\"label\":\"b\"}"), "a.jsonl:1: no field 'text'");
  EXPECT_EQ(JsonError("{\"text\":7,\"label\":\"b\"}"), "a.jsonl:1: field 'text' is no string");
  EXPECT_EQ(JsonError("{\"text\":\"x\",\"label\":1.5}"), "a.jsonl:1: field 'label' is no string");
  EXPECT_EQ(JsonError("{\"text\":\"x\"}"), "a.jsonl:1: no field 'label'");
  EXPECT_EQ(JsonError(std::string(3, '\0')), "a.jsonl:1: no JSON (or no UTF-8)");
  EXPECT_EQ(JsonError("{\"text\":\"x\",\"label\":\"b\"}", {.label = "label", .site = "site"}),
            "a.jsonl:1: no field 'site'");
}

TEST(JsonLinesTest, IsBounded) {
  EXPECT_EQ(JsonError("{\"text\":" + std::string(1 << 20, '[')), "a.jsonl:1: nested over 32 deep");
  EXPECT_THAT(
      JsonError("{\"text\":\"" + std::string(kMaxTextBytes + 1, 'x') + "\",\"label\":\"b\"}"),
      HasSubstr("text: 1048577 bytes, at most 1048576"));
  EXPECT_THAT(JsonError(std::string(8 * kMaxTextBytes + 1, 'x')),
              HasSubstr("a.jsonl:1: a line of"));
  // Brackets in a text are no nesting.
  EXPECT_TRUE(ParseJsonLines("{\"text\":\"\\\"" + std::string(100, '[') + "\",\"label\":\"b\"}",
                             "a", kLabelled)
                  .ok());
}

TEST(TextTableTest, LabelsThatAFileMayDoWithout) {
  const TextColumns optional{.label = "label", .label_required = false};
  const std::string with = "{\"text\":\"x\",\"label\":\"b\"}\n", without = "{\"text\":\"x\"}\n";
  EXPECT_THAT(ParseJsonLines(without + without, "a", optional)->labels.ids, IsEmpty());
  EXPECT_THAT(ParseJsonLines(with + with, "a", optional)->labels.ids, ElementsAre(0, 0));
  EXPECT_EQ(JsonError(with + without, optional), "a.jsonl:2: no field 'label'");
  EXPECT_THAT(JsonError(without + with, optional), HasSubstr("a.jsonl:2: a field 'label', which"));
  EXPECT_THAT(ParseCsv("text\nx\n", "a", optional)->labels.ids, IsEmpty());
}

TEST(TextTableTest, GivenClassesKeepTheirOrderAndAreTheOnlyOnes) {
  const TextColumns columns{.label = "label", .classes = {"z", "a", "m"}};
  const auto table = ParseCsv("text,label\nx,a\ny,z\n", "a.csv", columns);
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_THAT(table->labels.names, ElementsAre("z", "a", "m"));
  EXPECT_THAT(table->labels.ids, ElementsAre(1, 0));
  EXPECT_EQ(CsvError("text,label\nx,a\nx,b\n", columns),
            "a.csv:3: label: 'b' is none of the 3 known classes");
}

TEST(TextTableTest, LimitTakesTheFirstRowsAndLooksAtNoOther) {
  TextColumns columns = kLabelled;
  columns.limit = 1;
  EXPECT_EQ(ParseCsv("text,label\nx,a\nbad\n", "a", columns)->texts.size(), 1u);
  EXPECT_EQ(ParseJsonLines("{\"text\":\"x\",\"label\":1}\nbad", "a", columns)->texts.size(), 1u);
}

class FolderTest : public ::testing::Test {
 protected:
  void Write(const std::string& name, const std::string& text) {
    const auto path = folder_.path() / name;
    ASSERT_TRUE(MakeFolder(path.parent_path()).ok());
    ASSERT_TRUE(WriteFileAtomic(path, AsBytes(text)).ok());
  }
  TemporaryFolder folder_ = *TemporaryFolder::Create("atoll-texts");
};

TEST_F(FolderTest, EachFolderIsALabelAndEachLineAnExample) {
  Write("train/de/b.txt", "drei\r\n");
  Write("train/de/a.txt", "eins\n\n \t\nzwei");
  Write("train/de/a.md", "not this");
  Write("train/cs/a.txt", "jedna\n");
  Write("train/readme.txt", "nor this");
  const auto table = ReadTextFolders(folder_.path() / "train", kLabelled);
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_THAT(table->texts, ElementsAre("jedna", "eins", "zwei", "drei"));
  EXPECT_THAT(table->labels.names, ElementsAre("cs", "de"));
  EXPECT_THAT(table->labels.ids, ElementsAre(0, 1, 1, 1));
  TextColumns limited = kLabelled;
  limited.limit = 2;
  EXPECT_THAT(ReadTextFolders(folder_.path() / "train", limited)->texts,
              ElementsAre("jedna", "eins"));
}

TEST_F(FolderTest, NamesWhatIsWrong) {
  EXPECT_TRUE(absl::IsNotFound(ReadTextFolders(folder_.path() / "none", kLabelled).status()));
  Write("train/de/a.txt", "eins\nzw\xffi\n");
  const std::string message =
      MessageOf(ReadTextFolders(folder_.path() / "train", kLabelled).status());
  EXPECT_EQ(message,
            (folder_.path() / "train/de/a.txt").string() + ":2: text: its byte 2 is no UTF-8");
}

TEST_F(FolderTest, ClassNames) {
  EXPECT_THAT(*ReadClassNames(folder_.path()), IsEmpty());
  Write("labels.txt", "b\r\na\n");
  EXPECT_THAT(*ReadClassNames(folder_.path()), ElementsAre("b", "a"));
  Write("classes.txt", "x\ny");
  EXPECT_THAT(*ReadClassNames(folder_.path()), ElementsAre("x", "y"));
  auto error = [](const std::string& file) {
    return MessageOf(ParseClassNames(file, "classes.txt").status());
  };
  EXPECT_EQ(error(""), "classes.txt: no class in it");
  EXPECT_EQ(error("a\n\nb\n"), "classes.txt:2: an empty line");
  EXPECT_EQ(error("a\nb\na\n"), "classes.txt:3: this class is there already");
  EXPECT_EQ(error("a\n\xc3\n"), "classes.txt:2: class: its byte 0 is no UTF-8");
}

TEST(Utf8Test, FindsWhatIsNone) {
  EXPECT_EQ(FirstInvalidUtf8(""), 0u);
  EXPECT_EQ(FirstInvalidUtf8("plain text, äöü, 中文, 😀"),
            std::string_view("plain text, äöü, 中文, 😀").size());
  for (const char* bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80", "\xe4\xb8",
        "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
    EXPECT_EQ(FirstInvalidUtf8(std::string("12345678") + bad), 8u) << Hex(AsBytes(bad));
  }
}

// Any file cut off anywhere, and any byte changed, gives a table or an error, never anything else.
TEST(TextFilesTest, DamagedFilesEndInAnError) {
  const std::string csv = "text,label\n\"a \"\"b\"\"\",x\r\nc,y\n";
  const std::string json = "{\"text\":\"a\",\"label\":\"x\"}\n{\"text\":\"\\u00e9\",\"label\":2}\n";
  SeededRandom random({.seed = 5, .label = "damaged text files"});
  for (const std::string& file : {csv, json}) {
    for (size_t i = 0; i < 2000; ++i) {
      std::string bad = file.substr(0, i < file.size() ? i : file.size());
      if (i >= file.size()) bad[random.Below(bad.size())] = static_cast<char>(random.Next());
      for (const auto& table :
           {ParseCsv(bad, "a", kLabelled), ParseJsonLines(bad, "a", kLabelled)}) {
        if (table.ok()) {
          EXPECT_EQ(table->labels.ids.size(), table->texts.size());
        } else {
          EXPECT_TRUE(absl::IsInvalidArgument(table.status())) << table.status();
        }
      }
    }
  }
}

}  // namespace
}  // namespace atl::trainer

// Files that the trainer reads. The first byte says of which kind the rest is. What is read must
// fit together, whatever the bytes; everything else must end in an error.
#include <string>
#include <string_view>

#include "tests/fuzz/fuzz.h"
#include "trainer/data/cifar.h"
#include "trainer/data/idx.h"
#include "trainer/data/ngrams.h"
#include "trainer/data/text_files.h"
#include "trainer/data/token_rows.h"
#include "trainer/data/token_shards.h"
#include "trainer/data/utf8.h"
#include "trainer/data/wordpiece.h"
#include "trainer/export/safetensors.h"

namespace atl {
namespace {

using namespace trainer;  // NOLINT

void CheckTable(const absl::StatusOr<TextTable>& table, const TextColumns& columns) {
  if (!table.ok()) return;
  const size_t rows = table->texts.size();
  fuzz::Check(columns.limit == 0 || rows <= columns.limit, "more rows than asked for");
  fuzz::Check(table->labels.ids.empty() || table->labels.ids.size() == rows, "labels");
  fuzz::Check(columns.site.empty() || table->sites.ids.size() == rows, "sites");
  fuzz::Check(columns.pair.empty() || table->pairs.size() == rows, "pairs");
  for (uint32_t id : table->labels.ids) fuzz::Check(id < table->labels.names.size(), "a label");
  for (uint32_t id : table->sites.ids) fuzz::Check(id < table->sites.names.size(), "a site");
  for (const std::string& text : table->texts) {
    fuzz::Check(FirstInvalidUtf8(text) == text.size(), "a text that is no UTF-8");
  }
}

void Tables(std::string_view file, auto parse) {
  const TextColumns plain{.label = "label", .label_required = false, .limit = 3};
  CheckTable(parse(file, "file", plain), plain);
  const TextColumns full{.text = "text", .pair = "pair", .label = "label", .site = "site"};
  CheckTable(parse(file, "file", full), full);
}

void Idx(ByteView file) {
  const auto array = ParseIdx(Bytes(file.begin(), file.end()), "file");
  if (!array.ok()) return;
  uint64_t count = 1;
  for (uint32_t size : array->shape) count *= size;
  fuzz::Check(count == array->values.size(), "an array of another size");
}

void Cifar(ByteView file) {
  CifarImages images;
  if (!ParseCifar(file, images).ok()) return;
  fuzz::Check(images.pixels.size() == images.labels.size() * kCifarPixels, "pixels");
}

// The first bytes are the vocabulary, up to a zero; the rest is a text.
void WordPiece(std::string_view file) {
  const size_t cut = std::min(file.find('\0'), file.size());
  const auto tokenizer = WordPieceTokenizer::Parse(file.substr(0, cut), "vocab.txt");
  if (!tokenizer.ok()) return;
  const std::string_view text = file.substr(cut);
  for (size_t most : {size_t{3}, file.size() + 10}) {
    const auto ids = (*tokenizer)->Encode(text, most);
    fuzz::Check(ids.size() <= most, "too many tokens");
    for (int32_t id : ids) {
      fuzz::Check(id >= 0 && static_cast<uint32_t>(id) < (*tokenizer)->vocabulary(), "an id");
    }
  }
}

void Text(std::string_view text) {
  std::vector<int64_t> buckets;
  AppendNgrams(text, 4, 1000, buckets);
  for (int64_t bucket : buckets) fuzz::Check(bucket >= 0 && bucket < 1000, "a bucket");
  const auto [first, second] = Halves(text);
  fuzz::Check(first.empty() == second.empty(), "one half");
}

void Safetensors(ByteView file) {
  const auto parsed = ParseSafetensors(file);
  if (!parsed.ok()) return;
  uint64_t elements = 0;
  for (const TensorInfo& tensor : parsed->tensors) {
    fuzz::Check(tensor.offset == elements, "a gap");
    elements += tensor.elements;
  }
  fuzz::Check(elements == parsed->values.size(), "values");
}

void Shard(ByteView file) {
  const auto header = ParseShardHeader(file, file.size());
  if (!header.ok()) return;
  const Bytes again = EncodeShardHeader(*header);
  fuzz::Check(std::equal(again.begin(), again.end(), file.begin()), "another header comes back");
}

Bytes Seed(char kind, std::string_view text) {
  const std::string all = kind + std::string(text);
  return Bytes(all.begin(), all.end());
}

}  // namespace

std::vector<Bytes> fuzz::Seeds() {
  ShardHeader header{.vocabulary = 9, .padding_id = 0, .count = 2};
  std::string shard(AsText(EncodeShardHeader(header)));
  shard += std::string("\1\0\2\0", 4);
  const std::string tensors = R"({"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}})";
  std::string safetensors(1, static_cast<char>(tensors.size()));
  safetensors += std::string(7, '\0') + tensors + std::string(8, '\1');
  return {
      Seed('i', std::string_view("\0\0\x08\2\0\0\0\2\0\0\0\1ab", 14)),
      Seed('c', std::string(1 + kCifarPixels, '\3')),
      Seed('C', "text,label,pair,site\r\n\"a \"\"b\"\",\nc\",x,p,s\nd,y,,t\n"),
      Seed('j',
           "{\"text\":\"a\",\"label\":1,\"pair\":\"\\u00e9\",\"site\":\"s\"}\n\n"
           "{\"text\":\"b\",\"label\":\"x\",\"pair\":\"\",\"site\":\"t\",\"more\":[{}]}"),
      Seed('n', "one\r\ntwo\n"),
      Seed('w', std::string_view("[UNK]\na\n##b\n[CLS]\n\0ab \xc3\xa9 \xe4\xb8\xad", 28)),
      Seed('t', "some \xc3\xa4 text"),
      Seed('s', safetensors),
      Seed('x', shard),
  };
}

}  // namespace atl

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atl;  // NOLINT
  if (size == 0) return 0;
  const ByteView file(data + 1, size - 1);
  const std::string_view text = AsText(file);
  switch (data[0]) {
    case 'i':
      Idx(file);
      break;
    case 'c':
      Cifar(file);
      break;
    case 'C':
      Tables(text, ParseCsv);
      break;
    case 'j':
      Tables(text, ParseJsonLines);
      break;
    case 'n':
      (void)ParseClassNames(text, "classes.txt");
      break;
    case 'w':
      WordPiece(text);
      break;
    case 't':
      Text(text);
      break;
    case 's':
      Safetensors(file);
      break;
    case 'x':
      Shard(file);
      break;
    default:
      break;
  }
  return 0;
}

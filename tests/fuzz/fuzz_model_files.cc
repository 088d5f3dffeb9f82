// Model files from elsewhere: safetensors, and transformers' config.json. Whatever the bytes,
// reading ends with a model's tensors or sizes within their bounds, or with an error in words.
#include "nlohmann/json.hpp"
#include "tests/fuzz/fuzz.h"
#include "trainer/export/safetensors.h"
#include "trainer/model/hf_config.h"

namespace atl {
namespace {

using namespace trainer;  // NOLINT

void CheckWords(const absl::Status& status) {
  fuzz::Check(status.message().size() < 1000, "a message of many words");
  for (const unsigned char c : status.message())
    fuzz::Check(c >= 0x20 && c < 0x7f, "a character that is not for terminals");
}

void CheckSizes(const TransformerSizes& sizes) {
  fuzz::Check(ParameterCount(sizes) <= kMaxTransformerParameters, "too many parameters");
  fuzz::Check(sizes.vocabulary > 0 && sizes.heads > 0 && sizes.layers > 0, "sizes of nothing");
}

void Config(std::string_view text) {
  auto encoder = ParseEncoderConfig(text, "config.json");
  if (encoder.ok()) {
    CheckSizes(encoder->sizes);
    fuzz::Check(encoder->sizes.hidden % encoder->sizes.heads == 0, "heads do not fit");
    fuzz::Check(encoder->max_tokens() > 0, "no position");
    const auto again = ParseEncoderConfig(
        ToJson(*encoder, recipes::EncoderTask::kClassify, {"a"}).dump(), "again");
    fuzz::Check(again.ok() && *again == *encoder, "another encoder comes back");
  } else {
    CheckWords(encoder.status());
  }
  auto decoder = ParseDecoderConfig(text, "config.json");
  if (decoder.ok()) {
    CheckSizes(decoder->sizes);
    fuzz::Check(decoder->sizes.heads % decoder->kv_heads == 0, "heads do not fit");
    fuzz::Check(decoder->head_width % 2 == 0, "an odd head");
    const auto again = ParseDecoderConfig(ToJson(*decoder).dump(), "again");
    fuzz::Check(again.ok() && *again == *decoder, "another decoder comes back");
  } else {
    CheckWords(decoder.status());
  }
}

void Tensors(ByteView bytes) {
  auto file = ParseSafetensors(bytes);
  if (!file.ok()) return CheckWords(file.status());
  uint64_t end = 0;
  for (const TensorInfo& info : file->tensors) {
    fuzz::Check(info.offset == end, "a gap between tensors");
    end += info.elements;
  }
  fuzz::Check(end == file->values.size(), "values that belong to no tensor");
}

Bytes Tagged(uint8_t tag, std::string_view text) {
  ByteWriter out;
  out.U8(tag).Raw(AsBytes(text));
  return std::move(out).Take();
}

Bytes TensorSeed(std::string_view header, size_t data_bytes) {
  ByteWriter out;
  out.U8(1).Sized(header).Raw(Bytes(data_bytes, 0x3c));
  return std::move(out).Take();
}

}  // namespace

std::vector<Bytes> fuzz::Seeds() {
  return {
      Tagged(0,
             R"({"model_type":"bert","vocab_size":9,"hidden_size":8,"num_hidden_layers":1,)"
             R"("num_attention_heads":2,"intermediate_size":8,"max_position_embeddings":8,)"
             R"("type_vocab_size":2,"layer_norm_eps":1e-12,"hidden_act":"gelu","pad_token_id":0})"),
      Tagged(0, R"({"model_type":"llama","vocab_size":9,"hidden_size":8,"num_hidden_layers":1,)"
                R"("num_attention_heads":2,"num_key_value_heads":1,"intermediate_size":8,)"
                R"("max_position_embeddings":8,"rms_norm_eps":1e-6,"rope_theta":1e4,)"
                R"("rope_scaling":{"rope_type":"default"},"eos_token_id":[1,2],"head_dim":4})"),
      TensorSeed(R"({"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
                 R"("b":{"dtype":"I64","shape":[],"data_offsets":[8,16]},)"
                 R"("c":{"dtype":"F16","shape":[3],"data_offsets":[16,22]},)"
                 R"("d":{"dtype":"BF16","shape":[1],"data_offsets":[22,24]},)"
                 R"("e":{"dtype":"F64","shape":[1],"data_offsets":[24,32]}})",
                 32),
  };
}

}  // namespace atl

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const atl::ByteView rest(data + 1, size - 1);
  data[0] % 2 == 0 ? atl::Config(atl::AsText(rest)) : atl::Tensors(rest);
  return 0;
}

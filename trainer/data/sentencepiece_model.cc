#include "trainer/data/sentencepiece_model.h"

#include <sentencepiece_processor.h>

namespace atl::trainer {

struct SentencePieceModel::Library {
  sentencepiece::SentencePieceProcessor processor;
};

SentencePieceModel::SentencePieceModel() : library_(std::make_unique<Library>()) {}
SentencePieceModel::~SentencePieceModel() = default;

std::unique_ptr<SentencePieceModel> SentencePieceModel::Parse(std::string_view model,
                                                              std::string& error) {
  std::unique_ptr<SentencePieceModel> out(new SentencePieceModel());
  auto& processor = out->library_->processor;
  if (const auto status = processor.LoadFromSerializedProto(model); !status.ok()) {
    error = status.error_message();
    if (error.empty()) error = "no SentencePiece model";
    return nullptr;
  }
  if (processor.GetPieceSize() <= 0) {
    error = "a SentencePiece model without pieces";
    return nullptr;
  }
  out->vocabulary_ = static_cast<uint32_t>(processor.GetPieceSize());
  out->begin_ = processor.bos_id();
  out->end_ = processor.eos_id();
  out->padding_ = processor.pad_id();
  for (const char* piece : {"<mask>", "[MASK]"}) {
    const int id = processor.PieceToId(piece);
    if (out->mask_ < 0 && id != processor.unk_id()) out->mask_ = id;
  }
  return out;
}

std::vector<int32_t> SentencePieceModel::Encode(std::string_view text) const {
  std::vector<int> ids;
  // Fails only for a model that is not loaded.
  if (!library_->processor.Encode(text, &ids).ok()) return {};
  return {ids.begin(), ids.end()};
}

}  // namespace atl::trainer

#include "trainer/export/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "comms/base/files.h"
#include "comms/base/status.h"
#include "kernels/vector_layout.h"
#include "nlohmann/json.hpp"

namespace atl::trainer {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the data of a safetensors file is little-endian");

constexpr uint64_t kMaxFileBytes = uint64_t{1} << 38;
constexpr size_t kMaxDimensions = 8;

absl::Status Bad(std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("not a usable safetensors file: ", absl::string_view(why.data(), why.size())));
}

ByteView AsByteView(std::span<const float> values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(float)};
}

bool IsCount(const nlohmann::json& value) { return value.is_number_unsigned(); }

// One tensor's entry; `data_bytes` bounds its offsets.
absl::StatusOr<TensorInfo> ParseTensor(const std::string& name, const nlohmann::json& entry,
                                       uint64_t data_bytes) {
  auto bad = [&](const char* why) {
    return Bad(absl::StrCat("tensor '", name.substr(0, 100), "': ", why));
  };
  if (!entry.is_object()) return bad("its entry is no object");
  auto dtype = entry.find("dtype"), shape = entry.find("shape"),
       offsets = entry.find("data_offsets");
  if (dtype == entry.end() || !dtype->is_string()) return bad("no dtype");
  if (*dtype != "F32") return bad("its dtype is not F32");
  if (shape == entry.end() || !shape->is_array() || shape->size() > kMaxDimensions)
    return bad("no usable shape");
  if (offsets == entry.end() || !offsets->is_array() || offsets->size() != 2 ||
      !IsCount((*offsets)[0]) || !IsCount((*offsets)[1])) {
    return bad("no usable data_offsets");
  }
  TensorInfo info;
  info.name = name;
  uint64_t elements = 1;
  for (const auto& size : *shape) {
    if (!IsCount(size)) return bad("its shape holds something else than counts");
    uint64_t value = size.get<uint64_t>();
    if (elements != 0 && value > kernels::kMaxElements / elements) return bad("it is too large");
    elements *= value;
    info.shape.push_back(static_cast<int64_t>(value));
  }
  uint64_t begin = (*offsets)[0].get<uint64_t>(), end = (*offsets)[1].get<uint64_t>();
  if (begin > end || end > data_bytes) return bad("its data lies outside the file");
  if (end - begin != elements * sizeof(float)) return bad("its shape does not fit its data");
  if (begin % sizeof(float) != 0) return bad("its data is not aligned");
  info.offset = begin / sizeof(float);
  info.elements = elements;
  return info;
}

}  // namespace

absl::Status WriteSafetensors(const std::filesystem::path& path,
                              const std::vector<TensorInfo>& tensors,
                              std::span<const float> values) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};
  for (const TensorInfo& tensor : tensors) {
    header[tensor.name] = {
        {"dtype", "F32"},
        {"shape", tensor.shape},
        {"data_offsets",
         {tensor.offset * sizeof(float), (tensor.offset + tensor.elements) * sizeof(float)}}};
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // the data is aligned
  ByteWriter start;
  start.Sized(text);
  ATOLL_ASSIGN_OR_RETURN(StagedFile file, StagedFile::Create(path));
  ATOLL_RETURN_IF_ERROR(file.Append(start.bytes()));
  ATOLL_RETURN_IF_ERROR(file.Append(AsByteView(values)));
  return file.Commit();
}

absl::StatusOr<TensorFile> ParseSafetensors(ByteView file) {
  ByteReader in(file);
  ByteView text = in.SizedView(kMaxSafetensorsHeader);
  ByteView data = in.rest();
  if (!in.ok()) return Bad("its header is cut off or over 16 MiB");
  // The library recurses into nested arrays; a real header nests three deep.
  auto too_deep = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    return depth <= 4;
  };
  nlohmann::json header =
      nlohmann::json::parse(text.begin(), text.end(), too_deep, /*allow_exceptions=*/false);
  if (header.is_discarded() || !header.is_object()) return Bad("its header is no JSON object");
  TensorFile out;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    ATOLL_ASSIGN_OR_RETURN(TensorInfo info, ParseTensor(name, entry, data.size()));
    out.tensors.push_back(std::move(info));
  }
  std::sort(out.tensors.begin(), out.tensors.end(),
            [](const TensorInfo& a, const TensorInfo& b) { return a.offset < b.offset; });
  uint64_t end = 0;
  for (const TensorInfo& info : out.tensors) {
    if (info.offset != end)
      return Bad(absl::StrCat("tensor '", info.name.substr(0, 100), "': a gap or an overlap"));
    end += info.elements;
  }
  if (end * sizeof(float) != data.size()) return Bad("data behind the last tensor");
  out.values.resize(end);
  if (end != 0) std::memcpy(out.values.data(), data.data(), data.size());
  return out;
}

absl::StatusOr<TensorFile> ReadSafetensors(const std::filesystem::path& path) {
  ATOLL_ASSIGN_OR_RETURN(Bytes bytes, ReadFile(path, kMaxFileBytes));
  auto parsed = ParseSafetensors(bytes);
  if (!parsed.ok()) return Annotate(parsed.status(), path.string());
  return parsed;
}

}  // namespace atl::trainer

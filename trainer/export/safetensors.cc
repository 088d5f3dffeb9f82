#include "trainer/export/safetensors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

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

// A name from a file, fit for a message.
std::string Shown(const std::string& name) {
  std::string text = name.substr(0, 100);
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e) c = '?';
  }
  return text;
}

struct Dtype {
  const char* name;
  uint64_t bytes;
  bool is_float;
};
constexpr Dtype kDtypes[] = {
    {"F32", 4, true},  {"F16", 2, true},  {"BF16", 2, true}, {"F64", 8, true},  {"I64", 8, false},
    {"U64", 8, false}, {"I32", 4, false}, {"U32", 4, false}, {"I16", 2, false}, {"U16", 2, false},
    {"I8", 1, false},  {"U8", 1, false},  {"BOOL", 1, false}};

struct Entry {
  std::string name;
  const Dtype* dtype = nullptr;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // bytes of the data
  uint64_t elements = 0;
};

// One tensor's entry; `data_bytes` bounds its offsets.
absl::StatusOr<Entry> ParseEntry(const std::string& name, const nlohmann::json& json,
                                 uint64_t data_bytes) {
  auto bad = [&](const char* why) {
    return Bad(absl::StrCat("tensor '", Shown(name), "': ", why));
  };
  if (!json.is_object()) return bad("its entry is no object");
  auto dtype = json.find("dtype"), shape = json.find("shape"), offsets = json.find("data_offsets");
  if (dtype == json.end() || !dtype->is_string()) return bad("no dtype");
  Entry entry;
  entry.name = name;
  for (const Dtype& known : kDtypes) {
    if (*dtype == known.name) entry.dtype = &known;
  }
  if (entry.dtype == nullptr) return bad("its dtype is none of F32, F16, BF16, F64 and integers");
  if (shape == json.end() || !shape->is_array() || shape->size() > kMaxDimensions)
    return bad("no usable shape");
  if (offsets == json.end() || !offsets->is_array() || offsets->size() != 2 ||
      !IsCount((*offsets)[0]) || !IsCount((*offsets)[1])) {
    return bad("no usable data_offsets");
  }
  entry.elements = 1;
  for (const auto& size : *shape) {
    if (!IsCount(size)) return bad("its shape holds something else than counts");
    const uint64_t value = size.get<uint64_t>();
    if (value > kernels::kMaxElements ||
        (entry.elements != 0 && value > kernels::kMaxElements / entry.elements)) {
      return bad("it is too large");
    }
    entry.elements *= value;
    entry.shape.push_back(static_cast<int64_t>(value));
  }
  entry.begin = (*offsets)[0].get<uint64_t>();
  entry.end = (*offsets)[1].get<uint64_t>();
  if (entry.begin > entry.end || entry.end > data_bytes)
    return bad("its data lies outside the file");
  if (entry.end - entry.begin != entry.elements * entry.dtype->bytes)
    return bad("its shape does not fit its data");
  if (entry.begin % entry.dtype->bytes != 0) return bad("its data is not aligned");
  return entry;
}

float FromHalf(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 31, fraction = half & 1023;
  if (exponent == 0) {  // zero, or subnormal: a multiple of 2^-24
    const float value = std::ldexp(static_cast<float>(fraction), -24);
    return sign != 0 ? -value : value;
  }
  const uint32_t wide = exponent == 31 ? 255 : exponent + 112;  // biases 15 and 127
  return std::bit_cast<float>(sign | (wide << 23) | (fraction << 13));
}

float FromDouble(double value) {
  if (std::abs(value) <= static_cast<double>(std::numeric_limits<float>::max()))
    return static_cast<float>(value);
  return std::isnan(value) ? std::numeric_limits<float>::quiet_NaN()
                           : std::copysign(std::numeric_limits<float>::infinity(),
                                           static_cast<float>(std::copysign(1.0, value)));
}

template <typename T>
T Load(const uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

void AppendFloats(const Entry& entry, ByteView data, std::vector<float>& values) {
  const size_t first = values.size();
  values.resize(first + entry.elements);
  float* out = values.data() + first;
  const uint8_t* in = data.data() + entry.begin;
  const std::string_view dtype = entry.dtype->name;
  if (dtype == "F32") {
    if (entry.elements != 0) std::memcpy(out, in, entry.elements * sizeof(float));
    return;
  }
  for (uint64_t i = 0; i < entry.elements; ++i, in += entry.dtype->bytes) {
    if (dtype == "F64") {
      out[i] = FromDouble(Load<double>(in));
    } else {
      const uint16_t half = Load<uint16_t>(in);
      out[i] =
          dtype == "F16" ? FromHalf(half) : std::bit_cast<float>(static_cast<uint32_t>(half) << 16);
    }
  }
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
  std::vector<Entry> entries;
  for (const auto& [name, json] : header.items()) {
    if (name == "__metadata__") continue;
    ATOLL_ASSIGN_OR_RETURN(Entry entry, ParseEntry(name, json, data.size()));
    entries.push_back(std::move(entry));
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t end = 0, floats = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != end)
      return Bad(absl::StrCat("tensor '", Shown(entry.name), "': a gap or an overlap"));
    end = entry.end;
    if (entry.dtype->is_float) floats += entry.elements;
  }
  if (end != data.size()) return Bad("data behind the last tensor");
  TensorFile out;
  out.values.reserve(floats);
  for (Entry& entry : entries) {
    if (!entry.dtype->is_float) {
      out.skipped.push_back(std::move(entry.name));
      continue;
    }
    const uint64_t offset = out.values.size();
    AppendFloats(entry, data, out.values);
    out.tensors.push_back({std::move(entry.name), std::move(entry.shape), offset, entry.elements});
  }
  return out;
}

absl::StatusOr<TensorFile> ReadSafetensors(const std::filesystem::path& path) {
  ATOLL_ASSIGN_OR_RETURN(Bytes bytes, ReadFile(path, kMaxFileBytes));
  auto parsed = ParseSafetensors(bytes);
  if (!parsed.ok()) return Annotate(parsed.status(), path.string());
  return parsed;
}

}  // namespace atl::trainer

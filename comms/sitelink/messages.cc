#include "comms/sitelink/messages.h"

#include <cmath>

#include "comms/base/status.h"

namespace atl::sitelink {
namespace {

constexpr uint32_t kMaxRanks = 1 << 16;
constexpr uint64_t kMaxRecipeBytes = 1 << 20;
constexpr uint64_t kMaxPhaseBytes = 32;
constexpr uint64_t kMaxFailureBytes = 64 << 10;
constexpr uint64_t kMaxPackedBytes = kernels::kChunkElements * 8;

bool ReadBool(ByteReader& in, std::string_view what) {
  uint8_t value = in.U8();
  if (value > 1)
    in.Fail(
        absl::StrCat(absl::string_view(what.data(), what.size()), " is ", value, ", not 0 or 1"));
  return value == 1;
}

double ReadFinite(ByteReader& in, std::string_view what) {
  double value = in.F64();
  if (!std::isfinite(value))
    in.Fail(absl::StrCat(absl::string_view(what.data(), what.size()), " is not finite"));
  return value;
}

double ReadSeconds(ByteReader& in, std::string_view what) {
  double value = ReadFinite(in, what);
  if (value < 0) in.Fail(absl::StrCat(absl::string_view(what.data(), what.size()), " is negative"));
  return value;
}

void WriteMasks(ByteWriter& out, const Digest& context, kernels::MaskCipher cipher,
                const std::vector<kernels::Segment>& segments) {
  out.Raw(context).U8(static_cast<uint8_t>(cipher)).U32(static_cast<uint32_t>(segments.size()));
  for (const kernels::Segment& s : segments) {
    out.U64(s.length).U32(s.value_bits).U32(s.sum_bits).F64(s.scale);
  }
}
void ReadMasks(ByteReader& in, Digest& context, kernels::MaskCipher& cipher,
               std::vector<kernels::Segment>& segments) {
  context = in.Array<32>();
  cipher = static_cast<kernels::MaskCipher>(in.U8());
  if (cipher != kernels::MaskCipher::kAes256Ctr && cipher != kernels::MaskCipher::kChaCha20) {
    in.Fail(absl::StrCat("mask cipher ", static_cast<uint32_t>(cipher), " is unknown"));
  }
  segments.resize(in.Count(kernels::kMaxSegments, 24));
  for (kernels::Segment& s : segments) {
    s.length = in.U64();
    s.value_bits = in.U32();
    s.sum_bits = in.U32();
    s.scale = ReadFinite(in, "scale");
    if (!(s.scale > 0)) in.Fail(absl::StrCat("scale ", s.scale, " must be > 0"));
  }
  if (!in.ok()) return;
  if (std::string problem = kernels::VectorLayout::Problem(segments); !problem.empty())
    in.Fail(problem);
}

void Write(ByteWriter& out, const Hello& m) {
  out.U32(m.version).U32(m.ranks).Raw(m.launch_key).U32(static_cast<uint32_t>(m.pids.size()));
  for (uint32_t pid : m.pids) out.U32(pid);
}
void Read(ByteReader& in, Hello& m) {
  m.version = in.U32();
  if (m.version != kProtocolVersion) {
    return in.Fail(
        absl::StrCat("protocol version ", m.version, "; this program speaks ", kProtocolVersion));
  }
  m.ranks = in.U32();
  m.launch_key = in.Array<32>();
  m.pids.resize(in.Count(kMaxRanks, 4));
  for (uint32_t& pid : m.pids) pid = in.U32();
  if (m.ranks == 0 || m.pids.size() != m.ranks) {
    in.Fail(absl::StrCat(m.pids.size(), " process ids for ", m.ranks, " ranks"));
  }
}

void Write(ByteWriter& out, const Setup& m) {
  out.Sized(m.recipe_yaml).U32(m.site_index).U32(m.site_count).U64(m.parameters);
}
void Read(ByteReader& in, Setup& m) {
  m.recipe_yaml = in.SizedText(kMaxRecipeBytes);
  m.site_index = in.U32();
  m.site_count = in.U32();
  m.parameters = in.U64();
  if (m.site_index >= m.site_count) {
    in.Fail(absl::StrCat("site_index ", m.site_index, " must be < site_count ", m.site_count));
  }
  if (m.parameters == 0 || m.parameters > kernels::kMaxElements) {
    in.Fail(
        absl::StrCat("parameters ", m.parameters, " must be in [1, ", kernels::kMaxElements, "]"));
  }
}

void Write(ByteWriter& out, const ModelChunk& m) { out.U32(m.index).Sized(m.values); }
void Read(ByteReader& in, ModelChunk& m) {
  m.index = in.U32();
  m.values = in.Sized(kernels::kChunkElements * sizeof(float));
  if (m.values.empty() || m.values.size() % sizeof(float) != 0) {
    in.Fail(absl::StrCat(m.values.size(), " bytes are no whole number of float32 values"));
  }
}

void Write(ByteWriter& out, const Train& m) { out.U32(m.round); }
void Read(ByteReader& in, Train& m) { m.round = in.U32(); }

void Write(ByteWriter& out, const Progress& m) {
  out.U32(m.round).Sized(std::string_view(m.phase).substr(0, kMaxPhaseBytes));
  out.U32(m.step).U32(m.steps).F64(m.examples_per_s);
}
void Read(ByteReader& in, Progress& m) {
  m.round = in.U32();
  m.phase = in.SizedText(kMaxPhaseBytes);
  m.step = in.U32();
  m.steps = in.U32();
  m.examples_per_s = ReadFinite(in, "examples_per_s");
}

void Write(ByteWriter& out, const Trained& m) { out.U32(m.round); }
void Read(ByteReader& in, Trained& m) { m.round = in.U32(); }

void Write(ByteWriter& out, const Prepare& m) {
  out.U32(m.round);
  WriteMasks(out, m.context, m.cipher, m.segments);
  out.Sized(m.sealed_keys);
}
void Read(ByteReader& in, Prepare& m) {
  m.round = in.U32();
  ReadMasks(in, m.context, m.cipher, m.segments);
  m.sealed_keys = in.Sized(kMaxFrameBytes);
  if (in.ok() && m.sealed_keys.empty()) in.Fail("without keys");
}

void Write(ByteWriter& out, const Release& m) {
  out.U32(m.round).U8(m.masked).F64(m.clip_norm_l2).U8(m.weigh_by_examples).U64(m.weight_max);
  WriteMasks(out, m.context, m.cipher, m.segments);
  out.Sized(m.sealed_keys);
}
void Read(ByteReader& in, Release& m) {
  m.round = in.U32();
  m.masked = ReadBool(in, "masked");
  m.clip_norm_l2 = ReadFinite(in, "clip_norm_l2");
  if (!(m.clip_norm_l2 > 0)) in.Fail(absl::StrCat("clip_norm_l2 ", m.clip_norm_l2, " must be > 0"));
  m.weigh_by_examples = ReadBool(in, "weigh_by_examples");
  m.weight_max = in.U64();
  if (m.weight_max == 0) in.Fail("weight_max must be > 0");
  ReadMasks(in, m.context, m.cipher, m.segments);
  m.sealed_keys = in.Sized(kMaxFrameBytes);
  if (!in.ok()) return;
  if (m.masked == m.sealed_keys.empty()) {
    in.Fail(m.masked ? "masked, but without keys" : "not masked, but with keys");
  }
}

void Write(ByteWriter& out, const MaskedChunk& m) { out.U32(m.index).Sized(m.packed); }
void Read(ByteReader& in, MaskedChunk& m) {
  m.index = in.U32();
  m.packed = in.Sized(kMaxPackedBytes);
  if (m.packed.empty()) in.Fail("a chunk without bytes");
}

void Write(ByteWriter& out, const Masked& m) {
  out.U32(m.round).F64(m.mask_hidden_s).F64(m.mask_paid_s);
}
void Read(ByteReader& in, Masked& m) {
  m.round = in.U32();
  m.mask_hidden_s = ReadSeconds(in, "mask_hidden_s");
  m.mask_paid_s = ReadSeconds(in, "mask_paid_s");
}

void Write(ByteWriter& out, const Evaluate& m) { out.U32(m.round); }
void Read(ByteReader& in, Evaluate& m) { m.round = in.U32(); }

void Write(ByteWriter& out, const Evaluated& m) {
  out.U32(m.round).U64(m.examples).U64(m.correct).F64(m.loss_sum);
}
void Read(ByteReader& in, Evaluated& m) {
  m.round = in.U32();
  m.examples = in.U64();
  m.correct = in.U64();
  m.loss_sum = ReadFinite(in, "loss_sum");
  if (m.correct > m.examples)
    in.Fail(absl::StrCat(m.correct, " correct of ", m.examples, " examples"));
}

void Write(ByteWriter&, const Stop&) {}
void Read(ByteReader&, Stop&) {}

void Write(ByteWriter& out, const Failure& m) {
  out.Sized(std::string_view(m.message).substr(0, kMaxFailureBytes));
}
void Read(ByteReader& in, Failure& m) { m.message = in.SizedText(kMaxFailureBytes); }

constexpr std::string_view Name(MessageType type) {
  switch (type) {
    case MessageType::kHello:
      return "Hello";
    case MessageType::kSetup:
      return "Setup";
    case MessageType::kModelChunk:
      return "ModelChunk";
    case MessageType::kTrain:
      return "Train";
    case MessageType::kProgress:
      return "Progress";
    case MessageType::kTrained:
      return "Trained";
    case MessageType::kRelease:
      return "Release";
    case MessageType::kMaskedChunk:
      return "MaskedChunk";
    case MessageType::kMasked:
      return "Masked";
    case MessageType::kEvaluate:
      return "Evaluate";
    case MessageType::kEvaluated:
      return "Evaluated";
    case MessageType::kStop:
      return "Stop";
    case MessageType::kFailure:
      return "Failure";
    case MessageType::kPrepare:
      return "Prepare";
  }
  return "message";
}

}  // namespace

template <typename M>
Bytes Encode(const M& message) {
  ByteWriter out;
  Write(out, message);
  return std::move(out).Take();
}

template <typename M>
absl::StatusOr<M> Decode(ByteView payload) {
  ByteReader in(payload);
  M message;
  Read(in, message);
  ATOLL_RETURN_IF_ERROR(in.Finish(Name(M::kType)));
  return message;
}

#define ATOLL_SITELINK_MESSAGE(M)     \
  template Bytes Encode<M>(const M&); \
  template absl::StatusOr<M> Decode<M>(ByteView);
ATOLL_SITELINK_MESSAGE(Hello)
ATOLL_SITELINK_MESSAGE(Setup)
ATOLL_SITELINK_MESSAGE(ModelChunk)
ATOLL_SITELINK_MESSAGE(Train)
ATOLL_SITELINK_MESSAGE(Progress)
ATOLL_SITELINK_MESSAGE(Trained)
ATOLL_SITELINK_MESSAGE(Prepare)
ATOLL_SITELINK_MESSAGE(Release)
ATOLL_SITELINK_MESSAGE(MaskedChunk)
ATOLL_SITELINK_MESSAGE(Masked)
ATOLL_SITELINK_MESSAGE(Evaluate)
ATOLL_SITELINK_MESSAGE(Evaluated)
ATOLL_SITELINK_MESSAGE(Stop)
ATOLL_SITELINK_MESSAGE(Failure)
#undef ATOLL_SITELINK_MESSAGE

}  // namespace atl::sitelink

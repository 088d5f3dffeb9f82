#include "trainer/checkpoint/checkpoint.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>
#include <utility>

#include "comms/base/crypto/sha256.h"
#include "comms/base/files.h"
#include "comms/base/status.h"
#include "recipes/schema/load.h"

namespace atl::trainer {
namespace {

static_assert(std::endian::native == std::endian::little,
              "values are written as they lie in memory");

constexpr std::string_view kMagic = "ATOLLCK1";
constexpr uint32_t kMaxRanks = 1 << 16;
constexpr uint64_t kMaxNameBytes = 64;
constexpr uint64_t kFixedBytes = 8 + 8 + 32;  // magic, size of the header, digest

ByteView BytesOf(std::span<const float> values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()};
}

// A staged file and the digest of what went into it.
class HashedFile {
 public:
  explicit HashedFile(StagedFile file) : file_(std::move(file)) {}
  absl::Status Append(ByteView bytes) {
    // In pieces that are still in the cache when they are written.
    constexpr size_t kPiece = 1 << 18;
    while (!bytes.empty()) {
      ByteView piece = bytes.first(std::min(kPiece, bytes.size()));
      hash_.Update(piece);
      ATOLL_RETURN_IF_ERROR(file_.Append(piece));
      bytes = bytes.subspan(piece.size());
    }
    return absl::OkStatus();
  }
  absl::Status Commit() {
    ATOLL_RETURN_IF_ERROR(file_.Append(hash_.Finish()));
    return file_.Commit();
  }

 private:
  StagedFile file_;
  Sha256 hash_;
};

std::vector<float> TakeFloats(ByteReader& in, uint64_t count) {
  ByteView bytes = in.Raw(count * sizeof(float));
  std::vector<float> values(bytes.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

}  // namespace

// Header: sized recipe, u32 ranks, u64 examples; position: u32 epoch, u64 examples, u64 steps; u32
// count of metrics, each u64 examples, u64 correct, f64 loss sum; u64 parameters; u32 count of
// states, each a sized name.
Bytes EncodeHeader(const Checkpoint& checkpoint) {
  ByteWriter out;
  out.Sized(checkpoint.recipe_yaml).U32(checkpoint.ranks).U64(checkpoint.examples);
  const Position& position = checkpoint.position;
  out.U32(position.epoch).U64(position.examples).U64(position.steps);
  out.U32(static_cast<uint32_t>(checkpoint.epoch_so_far.size()));
  for (const Metrics& m : checkpoint.epoch_so_far)
    out.U64(m.examples).U64(m.correct).F64(m.loss_sum);
  out.U64(checkpoint.parameters.size());
  out.U32(static_cast<uint32_t>(checkpoint.optimizer.size()));
  for (const Checkpoint::State& state : checkpoint.optimizer) out.Sized(state.name);
  return std::move(out).Take();
}

absl::StatusOr<CheckpointHeader> ParseHeader(ByteView header) {
  ByteReader in(header);
  CheckpointHeader out;
  Checkpoint& c = out.fields;
  c.recipe_yaml = in.SizedText(recipes::kMaxRecipeBytes);
  c.ranks = in.U32();
  c.examples = in.U64();
  c.position.epoch = in.U32();
  c.position.examples = in.U64();
  c.position.steps = in.U64();
  const uint32_t metrics = in.Count(kMaxRanks, 24);
  for (uint32_t i = 0; i < metrics; ++i) {
    Metrics m;
    m.examples = in.U64();
    m.correct = in.U64();
    m.loss_sum = in.F64();
    c.epoch_so_far.push_back(m);
  }
  out.parameters = in.U64();
  const uint32_t states = in.Count(kMaxCheckpointStates, 8);
  for (uint32_t i = 0; i < states; ++i)
    c.optimizer.push_back({.name = in.SizedText(kMaxNameBytes), .values = {}});
  if (in.ok() && (c.ranks == 0 || c.ranks > kMaxRanks)) in.Fail("ranks is out of its range");
  if (in.ok() && c.epoch_so_far.size() != c.ranks) in.Fail("not one line of metrics a rank");
  if (in.ok() && c.position.examples > c.examples)
    in.Fail("its position is behind the last example");
  ATOLL_RETURN_IF_ERROR(in.Finish("checkpoint header"));
  return out;
}

absl::Status WriteCheckpoint(const std::filesystem::path& path, const Checkpoint& checkpoint) {
  ATOLL_ASSIGN_OR_RETURN(StagedFile staged, StagedFile::Create(path));
  HashedFile file(std::move(staged));
  const Bytes header = EncodeHeader(checkpoint);
  ByteWriter front;
  front.Raw(AsBytes(kMagic)).Sized(header);
  ATOLL_RETURN_IF_ERROR(file.Append(front.bytes()));
  ATOLL_RETURN_IF_ERROR(file.Append(BytesOf(checkpoint.parameters)));
  for (const Checkpoint::State& state : checkpoint.optimizer)
    ATOLL_RETURN_IF_ERROR(file.Append(BytesOf(state.values)));
  return file.Commit();
}

absl::StatusOr<Checkpoint> ParseCheckpoint(ByteView file) {
  if (file.size() < kFixedBytes) return absl::DataLossError("is too short for a checkpoint");
  if (!std::ranges::equal(file.first(kMagic.size()), AsBytes(kMagic)))
    return absl::InvalidArgumentError("is no checkpoint of this version (no ATOLLCK1 in front)");
  const ByteView body = file.first(file.size() - 32);
  if (!std::ranges::equal(Sha256::Of(body), file.last(32)))
    return absl::DataLossError("is cut off or changed: its digest does not fit");
  ByteReader in(body.subspan(kMagic.size()));
  const ByteView header_bytes = in.SizedView(kMaxCheckpointHeader);
  if (!in.ok()) return in.Finish("checkpoint");
  ATOLL_ASSIGN_OR_RETURN(CheckpointHeader header, ParseHeader(header_bytes));
  Checkpoint out = std::move(header.fields);
  const uint64_t tensors = 1 + out.optimizer.size();
  const uint64_t bytes = in.rest().size();
  if (bytes % (tensors * sizeof(float)) != 0 ||
      bytes / (tensors * sizeof(float)) != header.parameters) {
    return absl::InvalidArgumentError(absl::StrCat("has ", bytes, " bytes of values, not ", tensors,
                                                   " times ", header.parameters, " floats"));
  }
  out.parameters = TakeFloats(in, header.parameters);
  for (Checkpoint::State& state : out.optimizer) state.values = TakeFloats(in, header.parameters);
  ATOLL_RETURN_IF_ERROR(in.Finish("checkpoint"));
  return out;
}

absl::StatusOr<Checkpoint> ReadCheckpoint(const std::filesystem::path& path,
                                          uint64_t max_parameters) {
  const uint64_t max_bytes = kFixedBytes + kMaxCheckpointHeader +
                             max_parameters * sizeof(float) * (1 + kMaxCheckpointStates);
  ATOLL_ASSIGN_OR_RETURN(const Bytes bytes, ReadFile(path, max_bytes));
  auto parsed = ParseCheckpoint(bytes);
  if (!parsed.ok()) return Annotate(parsed.status(), path.string());
  return parsed;
}

}  // namespace atl::trainer

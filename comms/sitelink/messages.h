// What agent and trainer say to each other. Every struct has Encode() and a Decode that checks all
// it reads.
//
//   trainer: Hello                                              once, after launch
//   agent:   Setup                                              once
//   agent:   ModelChunk*, Train     ->  trainer: Progress*, Trained
//   agent:   Prepare                                            between any two of these
//   agent:   Release                ->  trainer: MaskedChunk*, Masked
//   agent:   ModelChunk*, Evaluate  ->  trainer: Progress*, Evaluated
//   agent:   Stop                                               the trainer ends with exit code 0
//   trainer: Failure                                            at any time, then it ends
// A Train or Evaluate that comes while another runs is an error of the agent; Stop and a closed
// link end everything.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"
#include "comms/base/crypto/suite.h"
#include "comms/sitelink/link.h"
#include "kernels/masks.h"
#include "kernels/vector_layout.h"

namespace atl::sitelink {

enum class MessageType : uint16_t {
  kHello = 1,
  kSetup,
  kModelChunk,
  kTrain,
  kProgress,
  kTrained,
  kRelease,
  kMaskedChunk,
  kMasked,
  kEvaluate,
  kEvaluated,
  kStop,
  kFailure,
  kPrepare,
};

struct Hello {
  static constexpr MessageType kType = MessageType::kHello;
  uint32_t version = kProtocolVersion;
  uint32_t ranks = 0;
  PublicKey launch_key{};      // X25519: stream keys are sealed to it
  std::vector<uint32_t> pids;  // of all ranks
};

struct Setup {
  static constexpr MessageType kType = MessageType::kSetup;
  std::string recipe_yaml;  // resolved
  uint32_t site_index = 0;  // this site's part of the data: index of count
  uint32_t site_count = 1;
  uint64_t parameters = 0;  // coordinates of the model; the trainer refuses another number
};

// kChunkElements floats (the last chunk fewer) of the model, in order.
struct ModelChunk {
  static constexpr MessageType kType = MessageType::kModelChunk;
  uint32_t index = 0;
  Bytes values;  // float32, little-endian
};

// Train one round from the model just sent.
struct Train {
  static constexpr MessageType kType = MessageType::kTrain;
  uint32_t round = 0;
};

struct Progress {
  static constexpr MessageType kType = MessageType::kProgress;
  uint32_t round = 0;
  std::string phase;  // "train", "mask", "evaluate"
  uint32_t step = 0, steps = 0;
  double examples_per_s = 0;
};

// Local training is over; the update waits for Release.
struct Trained {
  static constexpr MessageType kType = MessageType::kTrained;
  uint32_t round = 0;
};

// Segments of a round's vector, in this order.
inline constexpr uint32_t kMetricsSegment = 0;
inline constexpr uint32_t kUpdateSegment = 1;
// Coordinates of the metrics segment; loss is in units of 1/kLossUnit, kClipped is 1 of a site
// whose update was longer than the clip.
enum Metric : uint32_t {
  kWeight = 0,
  kExamples,
  kLossSum,
  kCorrect,
  kSaturated,
  kClipped,
  kMetricCount
};
inline constexpr double kLossUnit = 1024.0;
inline constexpr uint32_t kMetricValueBits = 48;

// A stream key for one segment.
struct StreamKey {
  uint32_t segment = 0;
  bool subtract = false;
  Secret32 key;
};

// The context that the coming Release will probably have, while there is time: masks may be
// expanded for it. Of no effect but on time: a Release of another context, or of other segments,
// throws away what was expanded, as do another Prepare and a new model. Has no answer.
struct Prepare {
  static constexpr MessageType kType = MessageType::kPrepare;
  uint32_t round = 0;
  Digest context{};
  kernels::MaskCipher cipher = kernels::MaskCipher::kAes256Ctr;
  std::vector<kernels::Segment> segments;
  Bytes sealed_keys;  // SealKeys()
};

// Quantise, mask and hand over. `masked` must agree with the recipe: the trainer refuses to send
// lanes without masks when the recipe has secure aggregation on.
struct Release {
  static constexpr MessageType kType = MessageType::kRelease;
  uint32_t round = 0;
  bool masked = true;
  double clip_norm_l2 = 0;
  bool weigh_by_examples = true;  // a_i = min(n, W) / W; else 1
  uint64_t weight_max = 1;        // W
  Digest context{};               // that the keys are of; zeros when not masked
  kernels::MaskCipher cipher = kernels::MaskCipher::kAes256Ctr;
  std::vector<kernels::Segment> segments;
  Bytes sealed_keys;  // SealKeys(); empty when not masked
};

struct MaskedChunk {
  static constexpr MessageType kType = MessageType::kMaskedChunk;
  uint32_t index = 0;  // of VectorLayout::chunk
  Bytes packed;
};

// Seconds are those of the slowest rank.
struct Masked {
  static constexpr MessageType kType = MessageType::kMasked;
  uint32_t round = 0;
  double mask_hidden_s = 0;  // processor time of masks expanded before Release, and used
  double mask_paid_s = 0;    // from Release on: the others expanded, all of them added
};

struct Evaluate {
  static constexpr MessageType kType = MessageType::kEvaluate;
  uint32_t round = 0;
};

struct Evaluated {
  static constexpr MessageType kType = MessageType::kEvaluated;
  uint32_t round = 0;
  uint64_t examples = 0, correct = 0;
  double loss_sum = 0;
};

struct Stop {
  static constexpr MessageType kType = MessageType::kStop;
};

struct Failure {
  static constexpr MessageType kType = MessageType::kFailure;
  std::string message;
};

// One Encode and one Decode for each struct above; Decode gives INVALID_ARGUMENT for bytes that are
// not one.
template <typename M>
Bytes Encode(const M& message);
template <typename M>
absl::StatusOr<M> Decode(ByteView payload);

template <typename M>
absl::Status SendMessage(Link& link, const M& message) {
  return link.Send(Frame{static_cast<uint16_t>(M::kType), Encode(message)});
}

// Stream keys for the trainer's eyes alone: ephemeral X25519 to the launch key, HKDF-SHA256,
// AES-256-GCM; bound to the round. At most 2^20 keys. Empty when launch_key is no valid point
// (OpenKeys and Decode refuse empty bytes).
Bytes SealKeys(const std::vector<StreamKey>& keys, const PublicKey& launch_key, uint32_t round,
               const CryptoSuite& suite, SecretRandom& random);
absl::StatusOr<std::vector<StreamKey>> OpenKeys(ByteView sealed, const KeyPair& launch_key,
                                                uint32_t round, const CryptoSuite& suite);

}  // namespace atl::sitelink

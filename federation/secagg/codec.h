// Private to the files that define the messages: how one is written and read. Every encoding
// begins with the message's tag, one byte, so that no message's bytes are another's.
#pragma once

#include "federation/secagg/fields.h"

namespace atl::secagg {

enum class Tag : uint8_t {
  kPreKeyRecord = 1,
  kPreKeySet,
  kShareBundle,
  kShareDelivery,
  kShareReceipt,
  kManifest,
  kReady,
  kCohortSet,
  kCommit,
  kSurvivorSet,
  kSurvivorSignature,
  kUnmaskRequest,
  kUnmaskAnswer,
  kResult,
  kGroupOpen = 30,
  kGroupCommit,
  kGroupCommitSet,
  kGroupSignature,
  kGroupSignatureSet,
  kGroupReveal,
  kGroupRevealSet,
};

template <typename M>
struct Codec;  // kTag, kName, Put(writer, message), Get(reader) -> message

template <typename M>
Bytes Encode(const M& message) {
  ByteWriter writer;
  writer.U8(static_cast<uint8_t>(Codec<M>::kTag));
  Codec<M>::Put(writer, message);
  return std::move(writer).Take();
}

template <typename M>
absl::StatusOr<M> Decode(ByteView bytes) {
  ByteReader reader(bytes);
  if (reader.U8() != static_cast<uint8_t>(Codec<M>::kTag)) reader.Fail("another message's tag");
  M message = Codec<M>::Get(reader);
  absl::Status status = reader.Finish(Codec<M>::kName);
  if (!status.ok()) return status;
  return message;
}

}  // namespace atl::secagg

// Emits Encode and Decode of a message whose Codec is complete.
#define ATOLL_SECAGG_MESSAGE(M)       \
  template Bytes Encode<M>(const M&); \
  template absl::StatusOr<M> Decode<M>(ByteView)

// The protocol's messages, E1 to R5, in their one canonical encoding. Encode() gives the bytes that
// travel; Decode checks all it reads (sizes, sorted sets, no duplicates) and gives INVALID_ARGUMENT
// otherwise. Who may say what in which state is for SiteSlot and CoordinatorSlot.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"
#include "comms/base/crypto/suite.h"
#include "comms/base/ids.h"
#include "kernels/masks.h"
#include "kernels/vector_layout.h"

namespace atl::secagg {

inline constexpr uint32_t kMaxSites = 255;  // GF(2^8) has so many points
using RunId = std::array<uint8_t, 32>;      // random, one a job

// What every signature is bound to, beside its label and body.
struct Session {
  Digest roster{};
  RunId run{};
  SlotId slot;
  uint32_t group = 0;
  // Of the slot's envelopes, as the recipe says; no part of what signatures cover: the envelopes'
  // keys and the manifest are bound to it.
  Aead aead = Aead::kAes256Gcm;
};

// E1. b_commit = SHA-256("b" || run || slot || id || b).
struct PreKeyRecord {
  SiteId id;
  PublicKey enc_key{}, mask_key{};
  Digest b_commit{};
  Signature signature{};
};

// U0: all accepted records, sorted by id.
struct PreKeySet {
  std::vector<PreKeyRecord> records;
};

// E2, from a dealer to the coordinator. Share hashes and envelopes are by rank in sorted U0; the
// dealer's own place holds its own shares' hashes and no envelope.
struct ShareBundle {
  SiteId dealer;
  std::vector<Digest> mask_share_hashes, b_share_hashes;
  Signature signature{};         // over dealer, t, H(U0) and all hashes
  std::vector<Bytes> envelopes;  // AEAD ciphertexts
};

// E2, from the coordinator to one holder: what each other member of U0 sent for it.
struct ShareDelivery {
  struct Item {
    SiteId dealer;
    std::vector<Digest> mask_share_hashes, b_share_hashes;
    Signature signature{};
    Bytes envelope;
  };
  std::vector<Item> items;  // sorted by dealer
};

// A holder could open the shares of all of U0 but `complaints`.
struct ShareReceipt {
  SiteId holder;
  std::vector<SiteId> complaints;  // sorted
  Signature signature{};
};

enum class WeightRule : uint8_t { kUniform = 0, kExamples = 1 };

// R0. With `masked` false the round is run without secure aggregation: slot, H(U0), U1 and t are as
// the coordinator says (U1: the participants), and R1 and R3 to R4 do not take place.
struct Manifest {
  RunId run{};
  SlotId slot;
  RoundId round;
  uint32_t group = 0;
  bool masked = true;
  Digest pre_keys{};            // H(U0)
  std::vector<SiteId> members;  // U1, sorted
  Digest model{};               // Merkle root of the global model's chunks
  Digest recipe{};              // SHA-256 of the resolved recipe
  std::vector<kernels::Segment> segments;
  double clip_norm_l2 = 0;
  WeightRule weight_rule = WeightRule::kExamples;
  uint64_t weight_max = 1;  // W
  double noise_stddev = 0;  // of the noise that a site adds to its update; this version adds none
  kernels::MaskCipher cipher = kernels::MaskCipher::kAes256Ctr;
  Aead aead = Aead::kAes256Gcm;  // of the slot's envelopes
  uint32_t threshold = 0;        // t
};

// R1.
struct Ready {
  SiteId id;
  Signature signature{};  // "ready" over H(manifest)
};

// U2 with its members' R1 signatures, sorted by id.
struct CohortSet {
  std::vector<Ready> members;
};

// R2's commitment to y_i.
struct Commit {
  SiteId id;
  uint64_t bytes = 0;     // of y_i
  Digest root{};          // Merkle root of the SHA-256 of its chunks
  Signature signature{};  // "commit" over ctx || bytes || root
};

// R3: U3 with its members' commits, sorted by id.
struct SurvivorSet {
  std::vector<Commit> members;
};
struct SurvivorSignature {
  SiteId id;
  Signature signature{};  // "survivors" over ctx || U3
};

// R4: at least t signatures of members of U3, sorted by id.
struct UnmaskRequest {
  std::vector<SurvivorSignature> signatures;
};

enum class ShareKind : uint8_t {
  kSelf = 1,
  kMaskKey = 2
};  // of b_j (j alive) or of mask_sk_j (j dropped)

struct UnmaskAnswer {
  struct Item {
    SiteId owner;
    ShareKind kind = ShareKind::kSelf;
    Secret32 share;
  };
  SiteId id;
  std::vector<Item> items;  // sorted by owner
  Signature signature{};    // "unmask" over ctx || items
};

// A secret that R4 revealed: b of a member of U3, mask_sk of one of U2 without U3.
struct RevealedSecret {
  SiteId owner;
  ShareKind kind = ShareKind::kSelf;
  Secret32 secret;
};

// R5. Without secure aggregation there are neither signatures nor secrets. Encoded it holds what
// unmasks the sum, which the coordinator and the cohort know anyway: wipe it all the same.
struct Result {
  RoundId round;
  uint32_t sites = 0;                         // whose vectors are in the sum, of all groups
  SurvivorSet survivors;                      // U3 with its commits, of this site's group
  std::vector<SurvivorSignature> signatures;  // at least t, sorted by id
  std::vector<RevealedSecret> secrets;        // of U2, sorted by owner
  // Merkle roots of the groups' packed sums: group g's at g - 1, zero for one that is not in the
  // sum. Where the run is not split there is one, `sum`.
  std::vector<Digest> group_sums;
  Digest sum{};         // Merkle root of the packed sum's chunks (segments as in the manifest)
  Digest next_model{};  // Merkle root of the next global model's chunks
};
inline constexpr uint32_t kMaxGroups = 21'845;  // 2^16 sites in groups of 3

template <typename M>
Bytes Encode(const M& message);
template <typename M>
absl::StatusOr<M> Decode(ByteView bytes);

// SHA-256 of the canonical encoding: H(U0), H(manifest).
Digest HashOf(const PreKeySet& set);
Digest HashOf(const Manifest& manifest);
// ctx = SHA-256("ctx" || H(manifest) || u32 |U2| || ids).
Digest ContextOf(const Digest& manifest_hash, const std::vector<SiteId>& cohort);

// t = floor(2 n0 / 3) + 1; `two_of_three` (the site's own file allows it by name) gives 2 for n0
// = 3.
uint32_t ThresholdFor(uint32_t n0, bool two_of_three = false);

}  // namespace atl::secagg

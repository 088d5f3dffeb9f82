// What each step's signature covers, beside the session. Used by both sides, so that they mean the
// same bytes.
#pragma once

#include <string_view>

#include "federation/secagg/messages.h"
#include "federation/secagg/roster.h"

namespace atl::secagg {

inline constexpr std::string_view kPreKeysLabel = "pre-keys";
inline constexpr std::string_view kSharesLabel = "shares";
inline constexpr std::string_view kReceiptLabel = "receipt";
inline constexpr std::string_view kReadyLabel = "ready";
inline constexpr std::string_view kCommitLabel = "commit";
inline constexpr std::string_view kSurvivorsLabel = "survivors";
inline constexpr std::string_view kUnmaskLabel = "unmask";

// id || enc_pk || mask_pk || b_commit.
Bytes PreKeyBody(const PreKeyRecord& record);
// dealer || t || H(U0) || u32 n || n hashes of mask_sk's shares || n hashes of b's shares.
Bytes SharesBody(SiteId dealer, uint32_t threshold, const Digest& pre_keys,
                 const std::vector<Digest>& mask_share_hashes,
                 const std::vector<Digest>& b_share_hashes);
// holder || H(U0) || u32 count || complaints.
Bytes ReceiptBody(SiteId holder, const Digest& pre_keys, const std::vector<SiteId>& complaints);
// H(manifest).
Bytes ReadyBody(const Digest& manifest_hash);
// ctx || u64 bytes || root.
Bytes CommitBody(const Digest& context, uint64_t bytes, const Digest& root);
// ctx || u32 |U3| || ids.
Bytes SurvivorsBody(const Digest& context, const std::vector<SiteId>& survivors);
// ctx || u32 count || (owner || u8 kind || share)*. Holds shares: wipe it.
Bytes UnmaskBody(const Digest& context, const std::vector<UnmaskAnswer::Item>& items);

// UNAUTHENTICATED "what: site 3's signature does not verify"; INVALID_ARGUMENT for a site outside
// the roster.
absl::Status VerifySite(const CryptoSuite& suite, const Roster& roster, const Session& session,
                        SiteId id, std::string_view label, ByteView body,
                        const Signature& signature);

// Position of `id` in a sorted set, or -1.
int RankOf(const std::vector<SiteId>& set, SiteId id);
inline bool Contains(const std::vector<SiteId>& set, SiteId id) { return RankOf(set, id) >= 0; }
// Strictly ascending.
bool IsSortedSet(const std::vector<SiteId>& set);
std::vector<SiteId> IdsOf(const PreKeySet& set);
std::vector<SiteId> IdsOf(const CohortSet& set);
std::vector<SiteId> IdsOf(const SurvivorSet& set);

// "site 7", for messages to people.
std::string Name(SiteId id);

}  // namespace atl::secagg

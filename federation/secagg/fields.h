// Private to the library: bounds and fields that several encodings share.
#pragma once

#include "federation/secagg/messages.h"

namespace atl::secagg {

inline constexpr uint32_t kRosterSitesMax = 1u << 16;
inline constexpr uint64_t kEnvelopeBytes = 2 * 32 + 16;  // both shares and the AEAD's tag

void PutIds(ByteWriter& writer, const std::vector<SiteId>& ids);
// Fails unless the ids are strictly ascending, from 1, and at most `max`.
std::vector<SiteId> GetIds(ByteReader& reader, uint32_t max);
SiteId GetId(ByteReader& reader);
// As GetId, for members of a sorted list: fails unless over `last`, which it then sets.
SiteId GetNextId(ByteReader& reader, SiteId& last);
void PutDigests(ByteWriter& writer, const std::vector<Digest>& digests);
std::vector<Digest> GetDigests(ByteReader& reader, uint32_t max);

}  // namespace atl::secagg

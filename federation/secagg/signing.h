// SIG(label, body) = Ed25519("atoll/secagg/v1/" || label || 0x00 || roster digest || run || slot ||
// group || SHA-256(body)).
#pragma once

#include <string_view>

#include "federation/secagg/messages.h"

namespace atl::secagg {

Signature SignBody(const CryptoSuite& suite, const Secret32& identity_seed, const Session& session,
                   std::string_view label, ByteView body);
bool VerifyBody(const CryptoSuite& suite, const PublicKey& identity, const Session& session,
                std::string_view label, ByteView body, const Signature& signature);

}  // namespace atl::secagg

#include "federation/secagg/signing.h"

#include "comms/base/crypto/sha256.h"

namespace atl::secagg {
namespace {

Bytes SignedMessage(const Session& session, std::string_view label, ByteView body) {
  ByteWriter writer;
  writer.Raw(AsBytes("atoll/secagg/v1/")).Raw(AsBytes(label)).U8(0);
  writer.Raw(session.roster).Raw(session.run).U64(session.slot.value()).U32(session.group);
  writer.Raw(Sha256::Of(body));
  return std::move(writer).Take();
}

}  // namespace

Signature SignBody(const CryptoSuite& suite, const Secret32& identity_seed, const Session& session,
                   std::string_view label, ByteView body) {
  return suite.Sign(identity_seed, SignedMessage(session, label, body));
}

bool VerifyBody(const CryptoSuite& suite, const PublicKey& identity, const Session& session,
                std::string_view label, ByteView body, const Signature& signature) {
  return suite.Verify(identity, SignedMessage(session, label, body), signature);
}

}  // namespace atl::secagg

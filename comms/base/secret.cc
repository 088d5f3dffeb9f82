#include "comms/base/secret.h"

#include <openssl/crypto.h>

namespace atl {

void Wipe(std::span<uint8_t> bytes) { OPENSSL_cleanse(bytes.data(), bytes.size()); }

}  // namespace atl

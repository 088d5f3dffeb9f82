#include "comms/base/crypto/sha256.h"

#include <openssl/evp.h>

#include <bit>
#include <cassert>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "comms/base/status.h"

namespace atl {
namespace {

void Require(bool ok) {
  if (ok) return;
  std::fputs("SHA-256 failed in OpenSSL: out of memory or a broken installation\n", stderr);
  std::abort();
}

// Fetched once: EVP_sha256() would look the algorithm up for each digest.
const EVP_MD* Algorithm() {
  static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  Require(algorithm != nullptr);
  return algorithm;
}

Digest LeafHash(const Digest& chunk) {
  const uint8_t prefix[] = {0};
  return Sha256().Update(prefix).Update(chunk).Finish();
}

Digest NodeHash(const Digest& left, const Digest& right) {
  const uint8_t prefix[] = {1};
  return Sha256().Update(prefix).Update(left).Update(right).Finish();
}

// RFC 6962's k: the largest power of two smaller than n. n >= 2.
size_t SplitPoint(size_t n) { return std::bit_floor(n - 1); }

Digest Root(std::span<const Digest> chunks) {
  if (chunks.size() == 1) return LeafHash(chunks[0]);
  const size_t k = SplitPoint(chunks.size());
  return NodeHash(Root(chunks.first(k)), Root(chunks.subspan(k)));
}

void AppendPath(std::span<const Digest> chunks, size_t index, std::vector<Digest>& path) {
  if (chunks.size() == 1) return;
  const size_t k = SplitPoint(chunks.size());
  if (index < k) {
    AppendPath(chunks.first(k), index, path);
    path.push_back(Root(chunks.subspan(k)));
  } else {
    AppendPath(chunks.subspan(k), index - k, path);
    path.push_back(Root(chunks.first(k)));
  }
}

}  // namespace

struct Sha256::State {
  State() : context(EVP_MD_CTX_new()) {
    Require(context != nullptr && EVP_DigestInit_ex2(context, Algorithm(), nullptr) == 1);
  }
  ~State() { EVP_MD_CTX_free(context); }  // wipes
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  EVP_MD_CTX* context;
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

Sha256& Sha256::Update(ByteView bytes) {
  assert(state_ != nullptr);
  Require(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1);
  return *this;
}

Digest Sha256::Finish() {
  assert(state_ != nullptr);
  Digest digest;
  Require(EVP_DigestFinal_ex(state_->context, digest.data(), nullptr) == 1);
  state_.reset();
  return digest;
}

Digest MerkleRoot(const std::vector<Digest>& chunk_digests) {
  return chunk_digests.empty() ? Sha256::Of({}) : Root(chunk_digests);
}

std::vector<Digest> MerklePath(const std::vector<Digest>& chunk_digests, size_t index) {
  assert(index < chunk_digests.size());
  std::vector<Digest> path;
  AppendPath(chunk_digests, index, path);
  return path;
}

// Walks up as in RFC 9162, section 2.1.3.2: `last` is the last node of the level that `node` is on.
absl::Status VerifyMerklePath(const Digest& chunk_digest, size_t index, size_t count,
                              const std::vector<Digest>& path, const Digest& root) {
  if (index >= count) {
    return absl::InvalidArgumentError(
        absl::StrCat("Merkle path: chunk ", index, " of a tree of ", count, " chunks"));
  }
  size_t node = index;
  size_t last = count - 1;
  Digest digest = LeafHash(chunk_digest);
  for (const Digest& sibling : path) {
    if (last == 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "Merkle path: ", path.size(), " digests are too many for chunk ", index, " of ", count));
    }
    if (node % 2 == 1 || node == last) {
      digest = NodeHash(sibling, digest);
      // A right edge without a sibling goes up unchanged.
      while (node % 2 == 0 && node != 0) {
        node /= 2;
        last /= 2;
      }
    } else {
      digest = NodeHash(digest, sibling);
    }
    node /= 2;
    last /= 2;
  }
  if (last != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "Merkle path: ", path.size(), " digests are too few for chunk ", index, " of ", count));
  }
  if (digest != root) {
    return absl::InvalidArgumentError(absl::StrCat("Merkle path: chunk ", index, " of ", count,
                                                   " leads to ", Hex(digest), ", not to the root ",
                                                   Hex(root)));
  }
  return absl::OkStatus();
}

}  // namespace atl

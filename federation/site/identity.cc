#include "federation/site/identity.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "comms/base/files.h"
#include "comms/base/secret.h"
#include "comms/base/status.h"

namespace atl::site {
namespace {

constexpr uint64_t kMaxKeyFileBytes = 256;

}  // namespace

absl::StatusOr<Secret32> ReadIdentityFile(const std::filesystem::path& path) {
  struct stat info;
  if (stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode)) {
    if (info.st_uid != geteuid()) {
      return absl::PermissionDeniedError(
          absl::StrCat(path.string(), ": belongs to another user; an identity must be one's own"));
    }
    if ((info.st_mode & 077) != 0) {
      return absl::PermissionDeniedError(
          absl::StrCat(path.string(), ": others may read this identity: chmod 600 it"));
    }
  }
  ATOLL_ASSIGN_OR_RETURN(Bytes text, ReadFile(path, kMaxKeyFileBytes));
  std::string_view hex = AsText(text);
  while (!hex.empty() && (hex.back() == '\n' || hex.back() == '\r' || hex.back() == ' ')) {
    hex.remove_suffix(1);
  }
  absl::StatusOr<Bytes> bytes = FromHex(hex);
  const bool good = bytes.ok() && bytes->size() == Secret32::size();
  std::optional<Secret32> seed;
  if (good) seed.emplace(std::span<const uint8_t, 32>(bytes->data(), Secret32::size()));
  if (bytes.ok()) Wipe(*bytes);
  Wipe(text);
  if (good) return *std::move(seed);
  return absl::InvalidArgumentError(
      absl::StrCat(path.string(), ": is not an identity: must hold 64 hex digits"));
}

absl::StatusOr<secagg::Roster> LoadRoster(const SiteOptions& options, const CryptoSuite& suite) {
  if (options.operator_key.empty()) {
    return secagg::Roster::Load(options.roster_file, nullptr, suite);
  }
  const absl::StatusOr<Digest> key = DigestFromHex(options.operator_key);
  if (!key.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("operator_key: ", key.status().message(), ": must be 64 hex digits"));
  }
  PublicKey pinned{};
  std::copy(key->begin(), key->end(), pinned.begin());
  return secagg::Roster::Load(options.roster_file, &pinned, suite);
}

absl::StatusOr<secagg::SiteIdentity> LoadIdentity(const SiteOptions& options, secagg::Roster roster,
                                                  const CryptoSuite& suite, SecretRandom& random) {
  ATOLL_ASSIGN_OR_RETURN(Secret32 seed, ReadIdentityFile(options.identity_file));
  const secagg::RosterEntry* entry = roster.Find(SiteId(options.site_id));
  if (entry == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(
        "site_id ", options.site_id, ": is not in the roster ", options.roster_file.string()));
  }
  if (suite.SigningKeyPair(seed).public_key != entry->identity) {
    return absl::FailedPreconditionError(absl::StrCat(
        options.identity_file.string(), ": is not the identity that the roster ",
        options.roster_file.string(), " has for site ", options.site_id, " (", entry->name, ")"));
  }
  return secagg::SiteIdentity{SiteId(options.site_id), std::move(seed), std::move(roster),
                              options.floors,          &suite,          &random};
}

}  // namespace atl::site

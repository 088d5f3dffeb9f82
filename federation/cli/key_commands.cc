#include <algorithm>
#include <cstdio>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "comms/base/files.h"
#include "comms/base/status.h"
#include "federation/cli/commands.h"
#include "federation/secagg/roster.h"

namespace atl::cli {
namespace {

namespace fs = std::filesystem;

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "atoll keys: %s\n", std::string(status.message()).c_str());
  return status.code() == absl::StatusCode::kInvalidArgument ? 2 : 1;
}

absl::StatusOr<Secret32> ReadSeed(const fs::path& file) {
  ATOLL_ASSIGN_OR_RETURN(Bytes text, ReadFile(file, 1024));
  auto seed = FromHex(std::string(absl::StripAsciiWhitespace(
      absl::string_view(reinterpret_cast<const char*>(text.data()), text.size()))));
  Wipe(text);
  if (!seed.ok() || seed->size() != 32) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.string(), ": not an identity: 64 hex digits expected"));
  }
  Secret32 secret{std::span<const uint8_t, 32>(*seed)};
  Wipe(*seed);
  return secret;
}

absl::StatusOr<std::pair<SiteId, secagg::RosterEntry>> ParseSite(const std::string& text) {
  std::vector<std::string> parts = absl::StrSplit(text, ':');
  uint32_t id = 0;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &id) || id == 0) {
    return absl::InvalidArgumentError(absl::StrCat("site '", text, "' is not ID:NAME:PUBLICKEY"));
  }
  auto key = DigestFromHex(parts[2]);
  if (!key.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("site '", text, "': the public key must have 64 hex digits"));
  }
  return std::pair(SiteId(id), secagg::RosterEntry{parts[1], *key});
}

absl::Status MakeRoster(const fs::path& operator_file, const std::vector<std::string>& sites,
                        const fs::path& out) {
  ATOLL_ASSIGN_OR_RETURN(Secret32 seed, ReadSeed(operator_file));
  std::map<SiteId, secagg::RosterEntry> entries;
  for (const std::string& site : sites) {
    ATOLL_ASSIGN_OR_RETURN(auto entry, ParseSite(site));
    if (!entries.insert(entry).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("site id ", entry.first.value(), " is given twice"));
    }
  }
  ATOLL_ASSIGN_OR_RETURN(secagg::Roster roster,
                         secagg::Roster::Create(entries, seed, OpensslSuite()));
  return WriteFileAtomic(out, AsBytes(roster.ToJson()));
}

}  // namespace

int KeysNew(const fs::path& file) {
  if (std::error_code error; fs::exists(file, error)) {
    return Fail(absl::AlreadyExistsError(
        absl::StrCat(file.string(), " exists; an identity is never overwritten")));
  }
  Secret32 seed = SystemRandom().Draw32();
  std::string text = Hex(seed.span()) + "\n";
  absl::Status status = WriteFileAtomic(file, AsBytes(text), 0600);
  Wipe(std::span(reinterpret_cast<uint8_t*>(text.data()), text.size()));
  if (!status.ok()) return Fail(status);
  std::printf("%s\n", Hex(OpensslSuite().SigningKeyPair(seed).public_key).c_str());
  return 0;
}

int KeysShow(const fs::path& file) {
  auto seed = ReadSeed(file);
  if (!seed.ok()) return Fail(seed.status());
  std::printf("%s\n", Hex(OpensslSuite().SigningKeyPair(*seed).public_key).c_str());
  return 0;
}

int KeysRoster(const fs::path& operator_file, const std::vector<std::string>& sites,
               const fs::path& out) {
  absl::Status status = MakeRoster(operator_file, sites, out);
  return status.ok() ? 0 : Fail(status);
}

}  // namespace atl::cli

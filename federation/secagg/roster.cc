#include "federation/secagg/roster.h"

#include <set>

#include "comms/base/crypto/sha256.h"
#include "comms/base/files.h"
#include "comms/base/status.h"
#include "federation/secagg/fields.h"
#include "nlohmann/json.hpp"

namespace atl::secagg {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kFileBytesMax = 64 << 20;
constexpr size_t kNameBytesMax = 256;
constexpr int kDepthMax = 8;

absl::Status Invalid(const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat("roster: ", why));
}

Bytes BodyOf(const PublicKey& operator_key, const std::map<SiteId, RosterEntry>& sites) {
  ByteWriter writer;
  writer.Raw(operator_key).U32(static_cast<uint32_t>(sites.size()));
  for (const auto& [id, entry] : sites) {
    writer.U32(id.value()).Sized(entry.name).Raw(entry.identity);
  }
  return std::move(writer).Take();
}

Bytes SignedMessage(const Digest& digest) {
  ByteWriter writer;
  writer.Raw(AsBytes("atoll/secagg/v1/roster")).U8(0).Raw(digest);
  return std::move(writer).Take();
}

// UTF-8 without control characters: it is shown on terminals.
bool IsName(const std::string& name) {
  if (name.size() > kNameBytesMax) return false;
  for (unsigned char byte : name) {
    if (byte < 0x20 || byte == 0x7f) return false;
  }
  return Json::accept(Json(name).dump(-1, ' ', false, Json::error_handler_t::ignore)) &&
         Json::parse(Json(name).dump(-1, ' ', false, Json::error_handler_t::ignore)) == Json(name);
}

absl::Status Check(const std::map<SiteId, RosterEntry>& sites) {
  if (sites.empty()) return Invalid("no sites");
  if (sites.size() > kRosterSitesMax) {
    return Invalid(absl::StrCat(sites.size(), " sites: must be <= ", kRosterSitesMax));
  }
  std::map<PublicKey, SiteId> identities;
  for (const auto& [id, entry] : sites) {
    if (id.value() == 0) return Invalid("site id 0: ids are from 1");
    if (!IsName(entry.name)) {
      return Invalid(absl::StrCat("site ", id.value(), ": its name is over ", kNameBytesMax,
                                  " bytes, not UTF-8 or has control characters"));
    }
    const auto [other, fresh] = identities.emplace(entry.identity, id);
    if (!fresh) {
      return Invalid(
          absl::StrCat("sites ", other->second.value(), " and ", id.value(), " have one identity"));
    }
  }
  return absl::OkStatus();
}

template <size_t N>
absl::StatusOr<std::array<uint8_t, N>> HexField(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) {
    return Invalid(absl::StrCat("'", key, "' is not there or no string"));
  }
  ATOLL_ASSIGN_OR_RETURN(const Bytes bytes, FromHex(found->get_ref<const std::string&>()));
  if (bytes.size() != N) {
    return Invalid(absl::StrCat("'", key, "' has ", bytes.size(), " bytes: must be ", N));
  }
  std::array<uint8_t, N> out;
  std::copy(bytes.begin(), bytes.end(), out.begin());
  return out;
}

absl::StatusOr<std::map<SiteId, RosterEntry>> SitesFrom(const Json& list) {
  std::map<SiteId, RosterEntry> sites;
  for (const Json& item : list) {
    if (!item.is_object() || !item.contains("id") || !item["id"].is_number_unsigned() ||
        item["id"].get<uint64_t>() > UINT32_MAX || !item.contains("name") ||
        !item["name"].is_string()) {
      return Invalid("a site without a numeric 'id' under 2^32 or a 'name'");
    }
    const SiteId id(item["id"].get<uint32_t>());
    RosterEntry entry{item["name"].get<std::string>(), {}};
    ATOLL_ASSIGN_OR_RETURN(entry.identity, HexField<32>(item, "identity"));
    if (!sites.emplace(id, std::move(entry)).second) {
      return Invalid(absl::StrCat("site ", id.value(), " stands there twice"));
    }
  }
  return sites;
}

}  // namespace

absl::StatusOr<Roster> Roster::Create(std::map<SiteId, RosterEntry> sites,
                                      const Secret32& operator_seed, const CryptoSuite& suite) {
  ATOLL_RETURN_IF_ERROR(Check(sites));
  Roster roster;
  roster.sites_ = std::move(sites);
  roster.operator_key_ = suite.SigningKeyPair(operator_seed).public_key;
  roster.digest_ = Sha256::Of(BodyOf(roster.operator_key_, roster.sites_));
  roster.signature_ = suite.Sign(operator_seed, SignedMessage(roster.digest_));
  return roster;
}

absl::StatusOr<Roster> Roster::FromJson(std::string_view text, const PublicKey* pinned_operator,
                                        const CryptoSuite& suite) {
  if (text.size() > kFileBytesMax) return Invalid("the text is too long");
  bool too_deep = false;
  const auto depth_check = [&](int depth, Json::parse_event_t, Json&) {
    too_deep |= depth > kDepthMax;
    return !too_deep;
  };
  const Json json = Json::parse(text, depth_check, /*allow_exceptions=*/false);
  if (too_deep || !json.is_object()) return Invalid("not a JSON object");
  const auto version = json.find("atoll_roster");
  if (version == json.end() || *version != 1) return Invalid("'atoll_roster' is not 1");
  const auto list = json.find("sites");
  if (list == json.end() || !list->is_array()) return Invalid("'sites' is not a list");
  Roster roster;
  ATOLL_ASSIGN_OR_RETURN(roster.operator_key_, HexField<32>(json, "operator"));
  ATOLL_ASSIGN_OR_RETURN(roster.signature_, HexField<64>(json, "signature"));
  ATOLL_ASSIGN_OR_RETURN(roster.sites_, SitesFrom(*list));
  ATOLL_RETURN_IF_ERROR(Check(roster.sites_));
  roster.digest_ = Sha256::Of(BodyOf(roster.operator_key_, roster.sites_));
  if (pinned_operator != nullptr && *pinned_operator != roster.operator_key_) {
    return absl::UnauthenticatedError(absl::StrCat("roster: signed by operator ",
                                                   Hex(roster.operator_key_), ", pinned is ",
                                                   Hex(*pinned_operator)));
  }
  if (!suite.Verify(roster.operator_key_, SignedMessage(roster.digest_), roster.signature_)) {
    return absl::UnauthenticatedError("roster: the operator's signature does not verify");
  }
  return roster;
}

absl::StatusOr<Roster> Roster::Load(const std::filesystem::path& path,
                                    const PublicKey* pinned_operator, const CryptoSuite& suite) {
  ATOLL_ASSIGN_OR_RETURN(const Bytes bytes, ReadFile(path, kFileBytesMax));
  auto roster = FromJson(AsText(bytes), pinned_operator, suite);
  if (!roster.ok()) return Annotate(roster.status(), path.string());
  return roster;
}

std::string Roster::ToJson() const {
  Json list = Json::array();
  for (const auto& [id, entry] : sites_) {
    list.push_back({{"id", id.value()}, {"name", entry.name}, {"identity", Hex(entry.identity)}});
  }
  const Json json = {{"atoll_roster", 1},
                     {"operator", Hex(operator_key_)},
                     {"sites", std::move(list)},
                     {"signature", Hex(signature_)}};
  return json.dump(2) + "\n";
}

const RosterEntry* Roster::Find(SiteId id) const {
  const auto found = sites_.find(id);
  return found == sites_.end() ? nullptr : &found->second;
}

}  // namespace atl::secagg

#include "federation/secagg/spot_check.h"

#include <algorithm>

#include "comms/base/crypto/sha256.h"
#include "comms/base/status.h"
#include "federation/secagg/signed_bodies.h"

namespace atl::secagg {
namespace {

// Uniform in [0, bound), without the bias of a remainder.
uint64_t Below(uint64_t bound, SecretRandom& random) {
  const uint64_t limit = ~uint64_t{0} - ~uint64_t{0} % bound;
  uint64_t value = 0;
  do {
    std::array<uint8_t, 8> bytes;
    random.Fill(bytes);
    value = 0;
    for (const uint8_t byte : bytes) value = value << 8 | byte;
  } while (value >= limit);
  return value % bound;
}

}  // namespace

// Floyd's sampling: for j = n - k .. n - 1 takes one of [0, j], or j itself if that is taken.
std::vector<uint32_t> PickChunks(uint32_t first, uint32_t end, uint32_t wanted,
                                 SecretRandom& random) {
  const uint32_t count = end > first ? end - first : 0;
  std::vector<uint32_t> picked;
  for (uint32_t j = count - std::min(wanted, count); j < count; ++j) {
    const auto drawn = first + static_cast<uint32_t>(Below(uint64_t{j} + 1, random));
    const auto at = std::lower_bound(picked.begin(), picked.end(), drawn);
    if (at == picked.end() || *at != drawn) {
      picked.insert(at, drawn);
    } else {
      picked.push_back(first + j);  // larger than all others
    }
  }
  return picked;
}

std::vector<uint32_t> ResultClaim::Groups() const {
  std::vector<uint32_t> numbers;
  for (uint32_t g = 0; group > 0 && g < group_sums.size(); ++g) {
    if (group_sums[g] != Digest{}) numbers.push_back(g + 1);
  }
  return numbers;
}

absl::StatusOr<ChunkCheck> ChunkCheck::Create(const ResultClaim& claim, uint32_t chunk) {
  ChunkCheck check(claim);
  check.chunk_ = chunk;
  ATOLL_ASSIGN_OR_RETURN(check.own_, ChunkSummer::Create(claim.layout, chunk));
  check.numbers_ = claim.Groups();
  if (!check.numbers_.empty()) {
    ATOLL_ASSIGN_OR_RETURN(check.groups_, ChunkSummer::Create(claim.layout, chunk));
  }
  return check;
}

absl::Status ChunkCheck::Bad(const std::string& why) const {
  return absl::InvalidArgumentError(absl::StrCat("chunk ", chunk_, ": ", why));
}

absl::Status ChunkCheck::CheckPath(const std::string& what, ByteView data,
                                   const std::vector<Digest>& path, const Digest& root) const {
  const absl::Status status =
      VerifyMerklePath(Sha256::Of(data), chunk_, claim_->layout.chunk_count(), path, root);
  return status.ok() ? status : Bad(absl::StrCat(what, ": ", std::string(status.message())));
}

absl::Status ChunkCheck::AddVector(SiteId site, ByteView data, const std::vector<Digest>& path) {
  const std::vector<Commit>& members = claim_->survivors.members;
  if (vectors_ == members.size()) return Bad("more vectors than survivors");
  const Commit& member = members[vectors_];
  if (site != member.id) {
    return Bad(absl::StrCat(Name(member.id), "'s vector is missing, ", Name(site), "'s came"));
  }
  ATOLL_RETURN_IF_ERROR(
      CheckPath(absl::StrCat(Name(site), "'s vector is not the one that it committed to"), data,
                path, member.root));
  ++vectors_;
  if (absl::Status added = own_->Add(data); !added.ok()) return Bad(std::string(added.message()));
  return absl::OkStatus();
}

absl::Status ChunkCheck::AddGroupSum(uint32_t group, ByteView data,
                                     const std::vector<Digest>& path) {
  if (group_sums_ == numbers_.size()) return Bad("more sums than groups");
  if (const uint32_t next = numbers_[group_sums_]; group != next) {
    return Bad(absl::StrCat("the sum of group ", next, " is missing, group ", group, "'s came"));
  }
  ATOLL_RETURN_IF_ERROR(
      CheckPath(absl::StrCat("the sum of group ", group, " is not the one that was published"),
                data, path, claim_->group_sums[group - 1]));
  ++group_sums_;
  if (group == claim_->group) own_group_.assign(data.begin(), data.end());
  if (absl::Status added = groups_->Add(data); !added.ok()) {
    return Bad(std::string(added.message()));
  }
  return absl::OkStatus();
}

absl::Status ChunkCheck::Finish(ByteView published) {
  if (vectors_ != claim_->survivors.members.size()) {
    return Bad(absl::StrCat(Name(claim_->survivors.members[vectors_].id), "'s vector is missing"));
  }
  if (group_sums_ != numbers_.size()) {
    return Bad(absl::StrCat("the sum of group ", numbers_[group_sums_], " is missing"));
  }
  own_->AddStreams(claim_->streams, claim_->cipher);
  const Bytes own = own_->Finish();
  const ByteView shown = groups_ ? ByteView(own_group_) : published;
  if (!std::equal(own.begin(), own.end(), shown.begin(), shown.end())) {
    return Bad("the published sum is not the sum of what the survivors sent");
  }
  if (!groups_) return absl::OkStatus();
  const Bytes all = groups_->Finish();
  if (std::equal(all.begin(), all.end(), published.begin(), published.end())) {
    return absl::OkStatus();
  }
  return Bad("the published sum is not the sum of the groups' sums");
}

}  // namespace atl::secagg

#include "federation/secagg/group_split.h"

#include <algorithm>
#include <limits>

#include "comms/base/status.h"
#include "federation/secagg/signed_bodies.h"

namespace atl::secagg {
namespace {

// Uniform numbers from a seed, the same at every site.
class Stream {
 public:
  Stream(const CryptoSuite& suite, const Secret32& seed) : suite_(suite), seed_(seed) {}

  uint64_t Below(uint64_t bound) {
    const uint64_t over = (std::numeric_limits<uint64_t>::max() % bound + 1) % bound;
    while (true) {
      const uint64_t drawn = Next();
      // The largest multiple of bound is 2^64 - over.
      if (over == 0 || drawn < uint64_t{0} - over) return drawn % bound;
    }
  }

 private:
  uint64_t Next() {
    if (used_ == kPerBlock) {
      ByteWriter info;
      info.Raw(AsBytes("group-shuffle")).U64(block_++);
      const Secret32 block = suite_.Hkdf(seed_.span(), {}, info.bytes());
      ByteReader reader(block.span());
      for (uint64_t& number : numbers_) number = reader.U64();
      used_ = 0;
    }
    return numbers_[used_++];
  }

  static constexpr size_t kPerBlock = 4;
  const CryptoSuite& suite_;
  const Secret32 seed_;
  uint64_t block_ = 0;
  std::array<uint64_t, kPerBlock> numbers_{};
  size_t used_ = kPerBlock;
};

}  // namespace

Groups AssignGroups(const CryptoSuite& suite, const RunId& run, const GroupCommitSet& commits,
                    const GroupRevealSet& reveals, const std::vector<uint32_t>& sizes) {
  ByteWriter nonces, info;
  for (const GroupRevealSet::Item& item : reveals.items) nonces.Raw(item.nonce);
  info.Raw(AsBytes("group-split")).Raw(run).U32(commits.attempt);
  Stream stream(suite, suite.Hkdf(nonces.bytes(), HashOf(commits), info.bytes()));

  std::vector<SiteId> ids = IdsOf(commits);
  for (size_t i = ids.size(); i > 1; --i) std::swap(ids[i - 1], ids[stream.Below(i)]);
  Groups groups;
  auto next = ids.begin();
  for (uint32_t size : sizes) {
    groups.emplace_back(next, next + size);
    std::sort(groups.back().begin(), groups.back().end());
    next += size;
  }
  return groups;
}

absl::Status CheckReveals(const RunId& run, const GroupCommitSet& commits,
                          const GroupRevealSet& reveals) {
  if (reveals.attempt != commits.attempt || IdsOf(reveals) != IdsOf(commits)) {
    return absl::InvalidArgumentError(
        absl::StrCat("group reveals: ", reveals.items.size(), " of attempt ", reveals.attempt, ": ",
                     commits.items.size(), " sites committed in attempt ", commits.attempt));
  }
  for (size_t i = 0; i < reveals.items.size(); ++i) {
    const GroupRevealSet::Item& item = reveals.items[i];
    if (GroupCommitment(run, commits.attempt, item.id, item.nonce) != commits.items[i].commit) {
      return absl::InvalidArgumentError(absl::StrCat("group reveals: the nonce of ", Name(item.id),
                                                     " is not the one committed to"));
    }
  }
  return absl::OkStatus();
}

SlotScope ScopeOf(const Groups& groups, uint32_t number, const GroupTerms& terms) {
  SlotScope scope;
  scope.members = groups[number - 1];
  for (const std::vector<SiteId>& group : groups) scope.total += group.size();
  scope.corrupt_max = terms.corrupt_max;
  return scope;
}

}  // namespace atl::secagg

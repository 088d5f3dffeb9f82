// Spot checks of R5: chunks of the round's sum, made again from what the sites committed to.
#pragma once

#include <optional>
#include <vector>

#include "federation/secagg/messages.h"
#include "federation/secagg/site_slot.h"
#include "federation/secagg/sum.h"

namespace atl::secagg {

// `wanted` different numbers of [first, end), each set of them as likely as any other, ascending;
// all of them when there are no more.
std::vector<uint32_t> PickChunks(uint32_t first, uint32_t end, uint32_t wanted,
                                 SecretRandom& random);

// What a checked result says (check_result.h), as chunks are checked against it.
struct ResultClaim {
  kernels::VectorLayout layout;
  kernels::MaskCipher cipher = kernels::MaskCipher::kAes256Ctr;
  uint32_t group = 0;  // 0 where the run is not split
  SurvivorSet survivors;
  std::vector<MaskStream> streams;  // to add to the survivors' sum
  std::vector<Digest> group_sums;   // as the result has them
  Digest sum{};
  // Numbers of the groups in the sum; none where the run is not split.
  std::vector<uint32_t> Groups() const;
};

// One chunk: takes the survivors' vectors there one by one, in the order of their ids, then, in a
// run that is split into groups, the groups' sums in the order of their numbers. Memory is that of
// a chunk or two, whatever the number of sites. Not thread-safe. All errors are INVALID_ARGUMENT
// and name the chunk and who is at fault.
class ChunkCheck {
 public:
  // `claim` outlives it.
  static absl::StatusOr<ChunkCheck> Create(const ResultClaim& claim, uint32_t chunk);

  // The next survivor's chunk with its audit path to the root that the site committed to.
  absl::Status AddVector(SiteId site, ByteView data, const std::vector<Digest>& path);
  // The next group's chunk with its audit path to the group's root.
  absl::Status AddGroupSum(uint32_t group, ByteView data, const std::vector<Digest>& path);
  // Whether the published chunk of the sum is what was added. Once.
  absl::Status Finish(ByteView published);

 private:
  explicit ChunkCheck(const ResultClaim& claim) : claim_(&claim) {}
  absl::Status Bad(const std::string& why) const;
  absl::Status CheckPath(const std::string& what, ByteView data, const std::vector<Digest>& path,
                         const Digest& root) const;

  const ResultClaim* claim_;
  uint32_t chunk_ = 0;
  std::optional<ChunkSummer> own_, groups_;
  std::vector<uint32_t> numbers_;        // of the groups
  size_t vectors_ = 0, group_sums_ = 0;  // added so far
  Bytes own_group_;                      // the group's sum as it was shown
};

}  // namespace atl::secagg

// A site's side of a run's split into groups.
//
//   idle -> committed -> signed(H) -> revealed -> assigned, and with a higher attempt from anywhere
//   to committed
//
// As SiteSlot: no I/O, and the state is made durable before anything that depends on it is
// returned. A repeated question gets the same bytes again; a different one, or one of an attempt
// that is over, FAILED_PRECONDITION. INVALID_ARGUMENT, UNAUTHENTICATED and PERMISSION_DENIED are
// refusals: nothing is revealed.
#pragma once

#include <optional>
#include <vector>

#include "federation/secagg/group_split.h"
#include "federation/secagg/site_slot.h"

namespace atl::secagg {

// Where this site belongs.
struct SiteGroup {
  uint32_t number = 0;  // from 1
  SlotScope scope;
};

// Makes a split's state durable.
class SplitJournal {
 public:
  virtual ~SplitJournal() = default;
  virtual absl::Status SaveSplit(ByteView record) = 0;
};

class SiteSplit {
 public:
  // `identity` and `journal` outlive it. An empty record: nothing has been said yet; DATA_LOSS for
  // one that does not parse, FAILED_PRECONDITION for one under other terms. `terms` are the
  // recipe's.
  static absl::StatusOr<SiteSplit> Open(const SiteIdentity& identity, const RunId& run,
                                        const GroupTerms& terms, ByteView record,
                                        SplitJournal& journal);

  // Draws a nonce. An attempt over the last one begins anew, and the groups of the last one are
  // forgotten. PERMISSION_DENIED once kSplitAttemptsMax nonces were revealed in this run.
  absl::StatusOr<GroupCommit> Commit(const GroupOpen& open);
  // One set an attempt. PERMISSION_DENIED where these sites cannot be split so that PickGroupSizes
  // is content, or a group would be under the site's own floor.
  absl::StatusOr<GroupSignature> Sign(const GroupCommitSet& commits);
  // Counts the attempt, durably, before the nonce is returned.
  absl::StatusOr<GroupReveal> Reveal(const GroupSignatureSet& signatures);
  absl::Status Assign(const GroupRevealSet& reveals);

  // The run is over: what is kept is how often this site has revealed.
  absl::Status Forget();

  // Set once assigned.
  const std::optional<SiteGroup>& group() const { return group_; }
  uint32_t revealed() const { return record_.revealed; }  // nonces, in this run

 private:
  enum class State : uint8_t { kIdle = 0, kCommitted, kSigned, kRevealed, kAssigned };
  struct Record {
    State state = State::kIdle;
    uint32_t attempt = 0;   // the last one that was taken part in
    uint32_t revealed = 0;  // nonces so far, over all attempts
    GroupTerms terms;
    Digest nonce{};
    GroupCommitSet commits;  // from kSigned on
    GroupRevealSet reveals;  // from kAssigned on
  };
  SiteSplit(const SiteIdentity& identity, const RunId& run, const GroupTerms& terms,
            SplitJournal& journal)
      : identity_(&identity), run_(run), terms_(terms), journal_(&journal) {}
  static absl::StatusOr<Record> Decode(ByteView bytes);
  Record Next(State state, uint32_t attempt) const;  // without what an attempt has made
  absl::Status Advance(Record next);
  absl::Status Require(uint32_t attempt, State least, std::string_view step) const;
  absl::Status SetGroup();
  Session SessionOf() const;
  GroupSignature Signed() const;

  const SiteIdentity* identity_;
  RunId run_;
  GroupTerms terms_;
  SplitJournal* journal_;
  Record record_;
  std::optional<SiteGroup> group_;
};

}  // namespace atl::secagg

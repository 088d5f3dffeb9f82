// The slots of one run: opened when the coordinator asks, journalled, found again after a restart.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "federation/secagg/site_slot.h"
#include "federation/secagg/site_split.h"
#include "federation/store/site_store.h"

namespace atl::site {

// What a run's slots have in common.
struct SlotBookOptions {
  secagg::RunId run{};
  secagg::GroupTerms terms;  // of who is in a slot with whom
  bool is_grouped = false;   // slots are of groups, which a split has made
  Digest data{};             // of the site's data: the cohort ledger is kept by it
  Aead aead = Aead::kAes256Gcm;
};

// Not thread-safe. Outlived by identity and store.
class SlotBook {
 public:
  // Restores the run's split and its slots that still live. DATA_LOSS for a journal that does not
  // parse, FAILED_PRECONDITION for a run that was split under other terms; the store's errors.
  static absl::StatusOr<std::unique_ptr<SlotBook>> Open(const secagg::SiteIdentity& identity,
                                                        store::SiteStore& store,
                                                        const SlotBookOptions& options);
  ~SlotBook();

  // The slot, with fresh keys if it is new, of this site's group in a grouped run.
  // FAILED_PRECONDITION when it was used and is over, or the groups are not known,
  // RESOURCE_EXHAUSTED with kMaxSlots alive.
  absl::StatusOr<secagg::SiteSlot*> OpenSlot(SlotId slot);
  // NOT_FOUND when it was never opened or is over.
  absl::StatusOr<secagg::SiteSlot*> Find(SlotId slot);
  // Its round is over, or its attempt was aborted: its secrets go. OK also when there is none.
  absl::Status Erase(SlotId slot);
  absl::Status Burn(SlotId slot);
  absl::Status BurnAll();
  // Erases what has reached U2 in rounds before `round`, but for `kept`.
  absl::Status EraseOver(RoundId round, SlotId kept);

  secagg::Session SessionOf(SlotId slot) const;
  secagg::SiteSplit* split() { return split_ ? &*split_ : nullptr; }  // null: not a grouped run

  static constexpr size_t kMaxSlots = 64;

 private:
  class Journal;
  SlotBook(const secagg::SiteIdentity& identity, store::SiteStore& store,
           const SlotBookOptions& options);

  const secagg::SiteIdentity& identity_;
  store::SiteStore& store_;
  const SlotBookOptions options_;
  std::unique_ptr<Journal> journal_;
  std::optional<secagg::SiteSplit> split_;
  std::map<SlotId, secagg::SiteSlot> slots_;
};

}  // namespace atl::site

// The slots of one run: opened when the coordinator asks, journalled, found again after a restart.
#pragma once

#include <map>
#include <memory>

#include "absl/status/statusor.h"
#include "federation/secagg/site_slot.h"
#include "federation/store/site_store.h"

namespace atl::site {

// Not thread-safe. Outlived by identity and store.
class SlotBook {
 public:
  // Restores the run's slots that still live. DATA_LOSS for a journal that does not parse; the
  // store's errors.
  static absl::StatusOr<std::unique_ptr<SlotBook>> Open(const secagg::SiteIdentity& identity,
                                                        store::SiteStore& store,
                                                        const secagg::RunId& run);
  ~SlotBook();

  // The slot, with fresh keys if it is new. FAILED_PRECONDITION when it was used and is over,
  // RESOURCE_EXHAUSTED with kMaxSlots alive.
  absl::StatusOr<secagg::SiteSlot*> OpenSlot(SlotId slot);
  // NOT_FOUND when it was never opened or is over.
  absl::StatusOr<secagg::SiteSlot*> Find(SlotId slot);
  // Its round is over, or its attempt was aborted: its secrets go. OK also when there is none.
  absl::Status Erase(SlotId slot);
  absl::Status Burn(SlotId slot);
  absl::Status BurnAll();

  secagg::Session SessionOf(SlotId slot) const;

  static constexpr size_t kMaxSlots = 64;

 private:
  class Journal;
  SlotBook(const secagg::SiteIdentity& identity, store::SiteStore& store, const secagg::RunId& run);

  const secagg::SiteIdentity& identity_;
  store::SiteStore& store_;
  const secagg::RunId run_;
  std::unique_ptr<Journal> journal_;
  std::map<SlotId, secagg::SiteSlot> slots_;
};

}  // namespace atl::site

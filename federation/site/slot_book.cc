#include "federation/site/slot_book.h"

#include <utility>

#include "comms/base/secret.h"
#include "comms/base/status.h"

namespace atl::site {
namespace {

bool IsOver(secagg::SlotState state) {
  return state == secagg::SlotState::kErased || state == secagg::SlotState::kBurnt;
}

}  // namespace

// Writes slots to the store; a slot that is over keeps its number there and no secret.
class SlotBook::Journal : public secagg::SlotJournal {
 public:
  Journal(store::SiteStore& store, const secagg::RunId& run) : store_(store), run_(run) {}
  absl::Status Save(SlotId slot, secagg::SlotState state, ByteView record) override {
    const uint32_t number = static_cast<uint32_t>(state);
    if (IsOver(state)) return store_.EraseSlot(run_, slot, number);
    return store_.SaveSlot(run_, slot, number, record);
  }

 private:
  store::SiteStore& store_;
  const secagg::RunId run_;
};

SlotBook::SlotBook(const secagg::SiteIdentity& identity, store::SiteStore& store,
                   const secagg::RunId& run)
    : identity_(identity),
      store_(store),
      run_(run),
      journal_(std::make_unique<Journal>(store, run)) {}

SlotBook::~SlotBook() = default;

absl::StatusOr<std::unique_ptr<SlotBook>> SlotBook::Open(const secagg::SiteIdentity& identity,
                                                         store::SiteStore& store,
                                                         const secagg::RunId& run) {
  std::unique_ptr<SlotBook> book(new SlotBook(identity, store, run));
  ATOLL_ASSIGN_OR_RETURN(std::vector<store::SlotRow> rows, store.Slots(run));
  absl::Status status;
  for (store::SlotRow& row : rows) {
    if (status.ok() && !IsOver(static_cast<secagg::SlotState>(row.state))) {
      auto slot = secagg::SiteSlot::Restore(identity, row.record, *book->journal_);
      if (slot.ok()) {
        book->slots_.emplace(row.slot, *std::move(slot));
      } else {
        status = Annotate(slot.status(), absl::StrCat("slot ", row.slot.value()));
      }
    }
    Wipe(row.record);
  }
  if (!status.ok()) return status;
  return book;
}

absl::StatusOr<secagg::SiteSlot*> SlotBook::OpenSlot(SlotId slot) {
  if (const auto known = slots_.find(slot); known != slots_.end()) return &known->second;
  absl::StatusOr<store::SlotRow> row = store_.GetSlot(run_, slot);
  if (row.ok()) {
    Wipe(row->record);
    return absl::FailedPreconditionError(absl::StrCat("slot ", slot.value(), " was used before"));
  }
  if (!absl::IsNotFound(row.status())) return row.status();
  if (slots_.size() >= kMaxSlots) {
    return absl::ResourceExhaustedError(absl::StrCat(slots_.size(), " slots are open already"));
  }
  ATOLL_ASSIGN_OR_RETURN(secagg::SiteSlot fresh,
                         secagg::SiteSlot::Create(identity_, SessionOf(slot), *journal_));
  return &slots_.emplace(slot, std::move(fresh)).first->second;
}

absl::StatusOr<secagg::SiteSlot*> SlotBook::Find(SlotId slot) {
  const auto known = slots_.find(slot);
  if (known != slots_.end()) return &known->second;
  return absl::NotFoundError(absl::StrCat("slot ", slot.value(), " is not open"));
}

absl::Status SlotBook::Erase(SlotId slot) {
  const auto known = slots_.find(slot);
  if (known == slots_.end()) return absl::OkStatus();
  ATOLL_RETURN_IF_ERROR(known->second.Erase());
  slots_.erase(known);
  return absl::OkStatus();
}

absl::Status SlotBook::Burn(SlotId slot) {
  const auto known = slots_.find(slot);
  if (known == slots_.end()) return absl::OkStatus();
  ATOLL_RETURN_IF_ERROR(known->second.Burn());
  slots_.erase(known);
  return absl::OkStatus();
}

absl::Status SlotBook::BurnAll() {
  while (!slots_.empty()) ATOLL_RETURN_IF_ERROR(Burn(slots_.begin()->first));
  return absl::OkStatus();
}

secagg::Session SlotBook::SessionOf(SlotId slot) const {
  secagg::Session session;
  session.roster = identity_.roster.digest();
  session.run = run_;
  session.slot = slot;
  return session;
}

}  // namespace atl::site

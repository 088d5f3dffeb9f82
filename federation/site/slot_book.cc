#include "federation/site/slot_book.h"

#include <utility>

#include "comms/base/secret.h"
#include "comms/base/status.h"

namespace atl::site {
namespace {

bool IsOver(secagg::SlotState state) {
  return state == secagg::SlotState::kErased || state == secagg::SlotState::kBurnt;
}

std::string SplitKey(const secagg::RunId& run) { return absl::StrCat("groups/", Hex(run)); }

}  // namespace

// Writes slots to the store; a slot that is over keeps its number there and no secret.
class SlotBook::Journal : public secagg::SlotJournal, public secagg::SplitJournal {
 public:
  Journal(store::SiteStore& store, const SlotBookOptions& options)
      : store_(store), run_(options.run), data_(options.data) {}
  absl::Status Save(SlotId slot, secagg::SlotState state, ByteView record) override {
    const uint32_t number = static_cast<uint32_t>(state);
    if (IsOver(state)) return store_.EraseSlot(run_, slot, number);
    return store_.SaveSlot(run_, slot, number, record);
  }
  absl::Status SaveSplit(ByteView record) override {
    return store_.PutSetting(SplitKey(run_), record);
  }
  absl::StatusOr<std::vector<secagg::SignedCohort>> SignedCohorts(
      const std::optional<Digest>& model) override {
    ATOLL_ASSIGN_OR_RETURN(std::vector<store::CohortRow> rows, store_.Cohorts(data_, model));
    std::vector<secagg::SignedCohort> cohorts;
    for (store::CohortRow& row : rows) {
      cohorts.push_back({row.model, std::move(row.survivors), row.slot, row.signature});
    }
    return cohorts;
  }
  absl::Status KeepCohort(const secagg::SignedCohort& cohort) override {
    return store_.KeepCohort(
        {data_, cohort.model, cohort.survivors, run_, cohort.slot, cohort.signature});
  }

 private:
  store::SiteStore& store_;
  const secagg::RunId run_;
  const Digest data_;
};

SlotBook::SlotBook(const secagg::SiteIdentity& identity, store::SiteStore& store,
                   const SlotBookOptions& options)
    : identity_(identity),
      store_(store),
      options_(options),
      journal_(std::make_unique<Journal>(store, options)) {}

SlotBook::~SlotBook() = default;

absl::StatusOr<std::unique_ptr<SlotBook>> SlotBook::Open(const secagg::SiteIdentity& identity,
                                                         store::SiteStore& store,
                                                         const SlotBookOptions& options) {
  std::unique_ptr<SlotBook> book(new SlotBook(identity, store, options));
  if (options.is_grouped) {
    absl::StatusOr<Bytes> record = store.GetSetting(SplitKey(options.run));
    if (!record.ok() && !absl::IsNotFound(record.status())) return record.status();
    if (!record.ok()) record = Bytes();
    auto split =
        secagg::SiteSplit::Open(identity, options.run, options.terms, *record, *book->journal_);
    Wipe(*record);
    if (!split.ok()) return split.status();
    book->split_.emplace(*std::move(split));
  }
  ATOLL_ASSIGN_OR_RETURN(std::vector<store::SlotRow> rows, store.Slots(options.run));
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
  absl::StatusOr<store::SlotRow> row = store_.GetSlot(options_.run, slot);
  if (row.ok()) {
    Wipe(row->record);
    return absl::FailedPreconditionError(absl::StrCat("slot ", slot.value(), " was used before"));
  }
  if (!absl::IsNotFound(row.status())) return row.status();
  if (slots_.size() >= kMaxSlots) {
    return absl::ResourceExhaustedError(absl::StrCat(slots_.size(), " slots are open already"));
  }
  secagg::Session session = SessionOf(slot);
  secagg::SlotScope scope;
  scope.corrupt_max = options_.terms.corrupt_max;
  if (options_.is_grouped) {
    if (!split_->group()) {
      return absl::FailedPreconditionError(
          absl::StrCat("slot ", slot.value(), ": the sites are not split into groups yet"));
    }
    session.group = split_->group()->number;
    scope = split_->group()->scope;
  }
  ATOLL_ASSIGN_OR_RETURN(secagg::SiteSlot fresh,
                         secagg::SiteSlot::Create(identity_, session, *journal_, std::move(scope)));
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

absl::Status SlotBook::EraseOver(RoundId round, SlotId kept) {
  std::vector<SlotId> over;
  for (const auto& [id, slot] : slots_) {
    const absl::StatusOr<secagg::SlotFacts> facts = slot.Facts();
    if (facts.ok() && facts->manifest.round < round && id != kept) over.push_back(id);
  }
  for (SlotId id : over) ATOLL_RETURN_IF_ERROR(Erase(id));
  return absl::OkStatus();
}

secagg::Session SlotBook::SessionOf(SlotId slot) const {
  secagg::Session session;
  session.roster = identity_.roster.digest();
  session.run = options_.run;
  session.slot = slot;
  session.aead = options_.aead;
  return session;
}

}  // namespace atl::site

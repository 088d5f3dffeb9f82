#include "federation/secagg/site_split.h"

#include "comms/base/secret.h"
#include "comms/base/status.h"
#include "federation/secagg/fields.h"
#include "federation/secagg/signed_bodies.h"
#include "federation/secagg/signing.h"
#include "federation/secagg/site_impl.h"

namespace atl::secagg {
namespace {

constexpr uint32_t kVersion = 1;
constexpr uint64_t kSetBytesMax = 16 + uint64_t{kRosterSitesMax} * (4 + 32);

absl::Status Unless(bool condition, std::string_view step, const std::string& why) {
  if (condition) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(std::string(step), ": ", why));
}

}  // namespace

absl::StatusOr<SiteSplit> SiteSplit::Open(const SiteIdentity& identity, const RunId& run,
                                          const GroupTerms& terms, ByteView record,
                                          SplitJournal& journal) {
  SiteSplit split(identity, run, terms, journal);
  if (record.empty()) return split;
  ATOLL_ASSIGN_OR_RETURN(split.record_, Decode(record));
  const GroupTerms& kept = split.record_.terms;
  if (kept.size_max != terms.size_max || kept.corrupt_max != terms.corrupt_max) {
    return absl::FailedPreconditionError(
        absl::StrCat("group split: this run was begun with group_size_max ", kept.size_max,
                     " and corrupt_sites_max ", kept.corrupt_max, ", now they are ", terms.size_max,
                     " and ", terms.corrupt_max));
  }
  if (split.record_.state == State::kAssigned) ATOLL_RETURN_IF_ERROR(split.SetGroup());
  return split;
}

absl::StatusOr<SiteSplit::Record> SiteSplit::Decode(ByteView bytes) {
  ByteReader reader(bytes);
  Record record;
  if (reader.U32() != kVersion) reader.Fail("another version");
  const uint8_t state = reader.U8();
  if (state > static_cast<uint8_t>(State::kAssigned)) reader.Fail("unknown state");
  record.state = static_cast<State>(state);
  record.attempt = reader.U32();
  record.revealed = reader.U32();
  record.terms.size_max = reader.U32();
  record.terms.corrupt_max = reader.U32();
  record.nonce = reader.Array<32>();
  const ByteView commits = reader.SizedView(kSetBytesMax);
  const ByteView reveals = reader.SizedView(kSetBytesMax);
  if (reader.ok() && record.state >= State::kSigned) {
    auto set = secagg::Decode<GroupCommitSet>(commits);
    if (set.ok()) record.commits = *std::move(set);
    if (!set.ok() || record.commits.attempt != record.attempt) reader.Fail("its commits");
  }
  if (reader.ok() && record.state == State::kAssigned) {
    auto set = secagg::Decode<GroupRevealSet>(reveals);
    if (set.ok()) record.reveals = *std::move(set);
    if (!set.ok() || IdsOf(record.reveals) != IdsOf(record.commits)) reader.Fail("its reveals");
  }
  const absl::Status status = reader.Finish("group split's record");
  if (!status.ok()) return absl::DataLossError(std::string(status.message()));
  return record;
}

absl::Status SiteSplit::Advance(Record next) {
  ByteWriter writer;
  writer.Reserve(128 + 80 * next.commits.items.size());
  writer.U32(kVersion).U8(static_cast<uint8_t>(next.state)).U32(next.attempt).U32(next.revealed);
  writer.U32(next.terms.size_max).U32(next.terms.corrupt_max).Raw(next.nonce);
  writer.Sized(next.state >= State::kSigned ? Encode(next.commits) : Bytes());
  writer.Sized(next.state == State::kAssigned ? Encode(next.reveals) : Bytes());
  Bytes bytes = std::move(writer).Take();
  const absl::Status written = journal_->SaveSplit(bytes);
  Wipe(bytes);
  if (!written.ok()) return Annotate(written, "group split: its state cannot be saved");
  record_ = std::move(next);
  return absl::OkStatus();
}

absl::Status SiteSplit::Require(uint32_t attempt, State least, std::string_view step) const {
  return Unless(attempt == record_.attempt && record_.state >= least, step,
                absl::StrCat("of attempt ", attempt, ": this site is at attempt ", record_.attempt,
                             record_.state < least ? ", an earlier step" : ""));
}

Session SiteSplit::SessionOf() const {
  Session session;
  session.roster = identity_->roster.digest();
  session.run = run_;
  return session;
}

SiteSplit::Record SiteSplit::Next(State state, uint32_t attempt) const {
  Record next;
  next.state = state;
  next.attempt = attempt;
  next.revealed = record_.revealed;
  next.terms = terms_;
  return next;
}

absl::Status SiteSplit::Forget() {
  if (record_.state == State::kIdle) return absl::OkStatus();
  group_.reset();
  return Advance(Next(State::kIdle, record_.attempt));
}

absl::StatusOr<GroupCommit> SiteSplit::Commit(const GroupOpen& open) {
  ATOLL_RETURN_IF_ERROR(Unless(open.attempt >= record_.attempt, "group commit",
                               absl::StrCat("attempt ", open.attempt, ": this site is at attempt ",
                                            record_.attempt, " already")));
  ATOLL_RETURN_IF_ERROR(Unless(open.attempt > record_.attempt || record_.state != State::kIdle,
                               "group commit", "the run is over at this site"));
  if (open.attempt > record_.attempt) {
    if (record_.revealed >= kSplitAttemptsMax) {
      return absl::PermissionDeniedError(absl::StrCat(
          "group commit: attempt ", open.attempt, ": this site has revealed ", record_.revealed,
          " nonces in this run, ", kSplitAttemptsMax, " are allowed"));
    }
    Record next = Next(State::kCommitted, open.attempt);
    identity_->random->Fill(next.nonce);
    ATOLL_RETURN_IF_ERROR(Advance(std::move(next)));
    group_.reset();
  }
  return GroupCommit{record_.attempt, identity_->id,
                     GroupCommitment(run_, record_.attempt, identity_->id, record_.nonce)};
}

GroupSignature SiteSplit::Signed() const {
  return {record_.attempt, identity_->id,
          SignBody(*identity_->suite, identity_->seed, SessionOf(), kGroupCommitsLabel,
                   HashOf(record_.commits))};
}

absl::StatusOr<GroupSignature> SiteSplit::Sign(const GroupCommitSet& commits) {
  ATOLL_RETURN_IF_ERROR(Require(commits.attempt, State::kCommitted, "group commits"));
  if (record_.state >= State::kSigned) {
    ATOLL_RETURN_IF_ERROR(Unless(HashOf(commits) == HashOf(record_.commits), "group commits",
                                 "this site has signed others in this attempt"));
    return Signed();
  }
  const Digest own = GroupCommitment(run_, record_.attempt, identity_->id, record_.nonce);
  bool has_own = false;
  SiteId last;
  for (const GroupCommitSet::Item& item : commits.items) {
    if (item.id <= last || identity_->roster.Find(item.id) == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("group commits: ", Name(item.id), " is out of order or not in the roster"));
    }
    last = item.id;
    has_own = has_own || (item.id == identity_->id && item.commit == own);
  }
  if (!has_own) {
    return absl::InvalidArgumentError("group commits: this site's own is not among them");
  }
  const auto sizes = PickGroupSizes(static_cast<uint32_t>(commits.items.size()), terms_);
  if (!sizes.ok()) return absl::PermissionDeniedError(std::string(sizes.status().message()));
  if (const uint32_t least = EffectiveCohortMin(identity_->floors); sizes->back() < least) {
    return absl::PermissionDeniedError(absl::StrCat("group commits: groups of ", sizes->back(),
                                                    " sites: this site's floor is ", least));
  }
  Record next = record_;
  next.state = State::kSigned;
  next.commits = commits;
  ATOLL_RETURN_IF_ERROR(Advance(std::move(next)));
  return Signed();
}

absl::StatusOr<GroupReveal> SiteSplit::Reveal(const GroupSignatureSet& signatures) {
  ATOLL_RETURN_IF_ERROR(Require(signatures.attempt, State::kSigned, "group reveal"));
  if (IdsOf(signatures) != IdsOf(record_.commits)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "group reveal: ", signatures.items.size(), " signatures of the commits: those of all ",
        record_.commits.items.size(), " sites are needed, and no others"));
  }
  const Session session = SessionOf();
  const Digest commits = HashOf(record_.commits);
  for (const GroupSignatureSet::Item& item : signatures.items) {
    ATOLL_RETURN_IF_ERROR(VerifySite(*identity_->suite, identity_->roster, session, item.id,
                                     kGroupCommitsLabel, commits, item.signature));
  }
  if (record_.state < State::kRevealed) {
    Record next = record_;
    next.state = State::kRevealed;
    ++next.revealed;
    ATOLL_RETURN_IF_ERROR(Advance(std::move(next)));
  }
  return GroupReveal{record_.attempt, identity_->id, record_.nonce};
}

absl::Status SiteSplit::Assign(const GroupRevealSet& reveals) {
  ATOLL_RETURN_IF_ERROR(Require(reveals.attempt, State::kRevealed, "group reveals"));
  ATOLL_RETURN_IF_ERROR(CheckReveals(run_, record_.commits, reveals));
  if (record_.state == State::kAssigned) return absl::OkStatus();
  Record next = record_;
  next.state = State::kAssigned;
  next.reveals = reveals;
  ATOLL_RETURN_IF_ERROR(Advance(std::move(next)));
  return SetGroup();
}

absl::Status SiteSplit::SetGroup() {
  ATOLL_ASSIGN_OR_RETURN(
      const std::vector<uint32_t> sizes,
      PickGroupSizes(static_cast<uint32_t>(record_.commits.items.size()), terms_));
  const Groups groups =
      AssignGroups(*identity_->suite, run_, record_.commits, record_.reveals, sizes);
  for (uint32_t number = 1; number <= groups.size(); ++number) {
    if (!Contains(groups[number - 1], identity_->id)) continue;
    group_ = SiteGroup{number, ScopeOf(groups, number, terms_)};
    return absl::OkStatus();
  }
  return absl::DataLossError("group split's record: this site is in none of its groups");
}

}  // namespace atl::secagg

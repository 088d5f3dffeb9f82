// The coordinator's side of a slot: what its steps share.
#include "federation/secagg/coordinator_slot.h"

#include "federation/secagg/coordinator_impl.h"

namespace atl::secagg {
namespace {

template <typename M>
std::set<SiteId> KeysOf(const std::map<SiteId, M>& map) {
  std::set<SiteId> keys;
  for (const auto& [id, value] : map) keys.insert(id);
  return keys;
}

}  // namespace

CoordinatorSlot::CoordinatorSlot(const Session& session, const Roster& roster,
                                 const CryptoSuite& suite, bool two_of_three, SlotScope scope)
    : impl_(std::make_unique<Impl>()) {
  impl_->session = session;
  impl_->roster = &roster;
  impl_->suite = &suite;
  impl_->two_of_three = two_of_three;
  impl_->scope = std::move(scope);
  if (!impl_->scope.members.empty()) impl_->threshold = ThresholdOf(impl_->scope, 0, false);
}
CoordinatorSlot::CoordinatorSlot(CoordinatorSlot&&) noexcept = default;
CoordinatorSlot& CoordinatorSlot::operator=(CoordinatorSlot&&) noexcept = default;
CoordinatorSlot::~CoordinatorSlot() = default;

absl::Status CoordinatorSlot::Impl::Require(Phase wanted, std::string_view step) const {
  if (phase == wanted) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(std::string(step), ": slot ", session.slot.value(),
                   phase < wanted ? " is not there yet" : " is past this step"));
}

absl::Status CoordinatorSlot::Impl::Verify(SiteId id, std::string_view label, ByteView body,
                                           const Signature& signature) const {
  return VerifySite(*suite, *roster, session, id, label, body, signature);
}

absl::Status CoordinatorSlot::Impl::Enough(std::string_view what, size_t count,
                                           uint32_t cohort_min) const {
  const uint32_t least = std::max(threshold, cohort_min);
  if (count >= least) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat(std::string(what), ": ", count, " of ", u0.size(),
                                         " sites are left, ", least, " are needed (threshold ",
                                         threshold, ", minimum cohort ", cohort_min, ")"));
}

absl::Status RequireMember(std::string_view what, const std::vector<SiteId>& set, SiteId id,
                           std::string_view set_name) {
  if (Contains(set, id)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(what), ": ", Name(id), " is not in ", std::string(set_name)));
}

std::set<SiteId> CoordinatorSlot::answered(Step step) const {
  switch (step) {
    case Step::kPreKeys:
      return KeysOf(impl_->records);
    case Step::kShares:
      return KeysOf(impl_->bundles);
    case Step::kReceipts:
      return KeysOf(impl_->receipts);
    case Step::kReady:
      return KeysOf(impl_->readies);
    case Step::kCommits:
      return KeysOf(impl_->commits);
    case Step::kUploads:
      return impl_->uploaded;
    case Step::kSurvivors:
      return KeysOf(impl_->signatures);
    case Step::kAnswers:
      return KeysOf(impl_->answers);
  }
  return {};
}

std::set<SiteId> CoordinatorSlot::answered() const {
  switch (impl_->phase) {
    case Impl::Phase::kPreKeys:
      return answered(Step::kPreKeys);
    case Impl::Phase::kShares:
      return answered(impl_->receipts.empty() ? Step::kShares : Step::kReceipts);
    case Impl::Phase::kManifest:
      return {};
    case Impl::Phase::kReady:
      return answered(Step::kReady);
    case Impl::Phase::kUploads:
      return answered(Step::kUploads);
    case Impl::Phase::kSurvivors:
      return answered(Step::kSurvivors);
    case Impl::Phase::kUnmask:
      return answered(Step::kAnswers);
  }
  return {};
}

const std::vector<SiteId>& CoordinatorSlot::u0() const { return impl_->u0; }
const std::vector<SiteId>& CoordinatorSlot::u1() const { return impl_->u1; }
const std::vector<SiteId>& CoordinatorSlot::u2() const { return impl_->u2; }
const std::vector<SiteId>& CoordinatorSlot::u3() const { return impl_->u3; }
const SurvivorSet& CoordinatorSlot::survivors() const { return impl_->survivors; }
const UnmaskRequest& CoordinatorSlot::request() const { return impl_->request; }
uint32_t CoordinatorSlot::threshold() const { return impl_->threshold; }
const std::optional<Manifest>& CoordinatorSlot::manifest() const { return impl_->manifest; }

const Commit* CoordinatorSlot::commit_of(SiteId id) const {
  const auto found = impl_->commits.find(id);
  return found == impl_->commits.end() ? nullptr : &found->second;
}

}  // namespace atl::secagg

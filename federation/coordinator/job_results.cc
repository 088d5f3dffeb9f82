// JobState's results (R5): published, kept until the sites have checked them, forgotten.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "comms/base/status.h"
#include "federation/coordinator/job_state.h"
#include "federation/secagg/signed_bodies.h"

namespace atl::coordinator {
namespace {

// Rounds whose vectors are kept at once, whatever their sites do.
constexpr size_t kOpenResultsMax = 4;

}  // namespace

void JobState::PublishResult(const SumDone& event, int64_t now_ms, Effects& out) {
  OpenResult open;
  open.slot = event.slot;
  open.since_ms = now_ms;
  open.sum = event.outcome.sum;
  open.results = attempt_->Results();
  open.checks = {.job = id_, .round = event.round, .slot = event.slot};
  open.complete = true;
  // A place for every group; nothing of one that is out.
  const bool is_split = open.results.rbegin()->first > 0;
  std::vector<Digest> group_sums(is_split ? attempt_->group_count() : 1);
  if (!is_split) group_sums[0] = open.sum;
  size_t place = 0;
  for (auto& [group, result] : open.results) {
    if (is_split && place < event.outcome.group_sums.size()) {
      group_sums[group - 1] = event.outcome.group_sums[place++];
      open.checks.sums.emplace_back(group, group_sums[group - 1]);
    }
    open.complete &= event.slot.value() == 0 || !result.secrets.empty();
    open.checks.survivors[group] = secagg::IdsOf(result.survivors);
  }
  // The sites of a group that is out take the step as well.
  for (uint32_t group = 1; is_split && group <= group_sums.size(); ++group) {
    open.results[group].round = event.round;
  }
  for (auto& [group, result] : open.results) {
    result.sites = static_cast<uint32_t>(attempt_->survivors().size());
    result.sum = open.sum;
    result.next_model = event.outcome.next_model;
    result.group_sums = group_sums;
  }
  for (SiteId site : attempt_->Asked()) {
    const uint32_t group = attempt_->GroupNumberOf(site);
    open.group_of[site] = group;
    if (!members_.at(site).live()) continue;
    open.pending.insert(site);
    if (open.checks.survivors.contains(group)) open.checks.askers[site] = group;
  }
  const kernels::VectorLayout layout(attempt_->plan().manifest.segments);
  for (uint32_t i = 0; i < layout.chunk_count(); ++i) {
    open.checks.chunk_bytes.push_back(static_cast<uint32_t>(layout.chunk(i).bytes));
  }
  out.Add(open.checks);
  for (const auto& [site, member] : members_) {
    if (member.accepted && !member.refused) SendResult(site, open, out);
  }
  results_[event.round] = std::move(open);
  while (results_.size() > kOpenResultsMax) CloseResult(results_.begin()->first, out);
  SettleResults(out);
}

void JobState::SendResult(SiteId site, const OpenResult& open, Effects& out) const {
  const auto group = open.group_of.find(site);
  if (!open.complete || group == open.group_of.end()) return;
  const secagg::Result& result = open.results.at(group->second);
  Bytes encoded = secagg::Encode(result);
  out.SendStep(site, id_, open.slot, result.round, v1::RESULT, encoded);
  Wipe(encoded);
}

void JobState::SendOpenResults(SiteId site, Effects& out) const {
  for (const auto& [round, open] : results_) {
    if (open.pending.contains(site)) SendResult(site, open, out);
  }
}

void JobState::RestoreSecrets(SlotId slot, const std::vector<secagg::RevealedSecret>& secrets) {
  for (auto& [round, open] : results_) {
    if (open.slot != slot) continue;
    for (const secagg::RevealedSecret& secret : secrets) {
      const auto group = open.group_of.find(secret.owner);
      if (group == open.group_of.end()) continue;
      open.results.at(group->second).secrets.push_back(secret);
    }
    open.complete =
        std::none_of(open.checks.survivors.begin(), open.checks.survivors.end(),
                     [&open = open](const auto& item) { return open.results.at(item.first).secrets.empty(); });
    return;
  }
}

bool JobState::NeedsSecrets(SlotId slot) const {
  if (attempt_ && attempt_->plan().slot == slot) return true;
  return std::any_of(results_.begin(), results_.end(),
                     [&](const auto& item) { return item.second.slot == slot; });
}

absl::Status JobState::TakeChecked(SiteId site, const v1::SecAgg& step, Effects& out) {
  const auto at = results_.find(RoundId(step.round()));
  if (at == results_.end() || at->second.slot.value() != step.slot()) return absl::OkStatus();
  uint32_t chunks = 0;
  if (!step.payload().empty()) {
    ByteReader reader(AsBytes(step.payload()));
    chunks = reader.U32();
    ATOLL_RETURN_IF_ERROR(reader.Finish("count of checked chunks"));
  }
  const size_t most = at->second.checks.chunk_bytes.size();
  if (chunks > most) {
    return absl::InvalidArgumentError(
        absl::StrCat(chunks, " chunks checked, the vector has ", most));
  }
  if (at->second.pending.erase(site) == 0) return absl::OkStatus();  // a repeat
  v1::RoundReport& report = reports_[step.round() - 1];
  report.set_spot_checked(report.spot_checked() + chunks);
  SettleResults(out);
  return absl::OkStatus();
}

void JobState::SettleResults(Effects& out) {
  std::vector<RoundId> settled;
  for (const auto& [round, open] : results_) {
    // One that was dropped may come back while rounds go on, but it does not hold up the job's end.
    const bool is_awaited = std::any_of(open.pending.begin(), open.pending.end(), [&](SiteId site) {
      const Member& member = members_.at(site);
      return stage_ == Stage::kJudging ? member.live() : !member.refused;
    });
    if (!is_awaited) settled.push_back(round);
  }
  for (RoundId round : settled) CloseResult(round, out);
  Complete(out);
}

void JobState::CloseResult(RoundId round, Effects& out) {
  const auto at = results_.find(round);
  if (at == results_.end()) return;
  out.Add(ForgetSlot{id_, round, at->second.slot});
  const OpenResult closed = std::move(at->second);
  results_.erase(at);
  RemoveSums(closed, out);
}

void JobState::RemoveSums(const OpenResult& closed, Effects& out) const {
  const std::set<Digest> retained = Retained();
  if (!retained.contains(closed.sum)) out.Add(RemoveBlob{closed.sum});
  for (const auto& [group, sum] : closed.checks.sums) {
    if (sum != closed.sum && !retained.contains(sum)) out.Add(RemoveBlob{sum});
  }
}

void JobState::GiveUpResult(const ResultGivenUp& event, Effects& out) {
  if (Ended() || !results_.contains(event.round)) return;
  out.Note(id_, absl::StrCat("the result of round ", event.round.value(),
                             " is not waited for any more: ", event.why));
  CloseResult(event.round, out);
  Complete(out);
}

void JobState::DueResults(int64_t now_ms, std::vector<Event>& due) const {
  for (const auto& [round, open] : results_) {
    std::string silent;
    bool is_over = true;
    for (SiteId site : open.pending) {
      const Member& member = members_.at(site);
      if (member.refused) continue;
      const int64_t heard_ms = member.connected ? member.heard_ms : member.gone_ms;
      is_over &= now_ms - std::max(open.since_ms, heard_ms) >= ProgressMs();
      absl::StrAppend(&silent, silent.empty() ? "" : ", ", Name(site));
    }
    if (!is_over) continue;
    due.push_back(ResultGivenUp{
        id_, round, absl::StrCat("no sign of life for ", ProgressMs() / 1000, " s from ", silent)});
  }
}

void JobState::Complete(Effects& out) {
  if (stage_ != Stage::kJudging) return;
  if (evaluating_.empty() && results_.empty()) return End(v1::COMPLETE, "", out);
  if (evaluating_.empty()) {
    reason_ = "waits for the sites' checks of the last sum";  // moments: not worth an event
  } else if (reason_.empty()) {
    reason_ = "waits for the last model's evaluation";
    PublishStatus(out);
  }
}

}  // namespace atl::coordinator

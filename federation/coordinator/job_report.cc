// JobState's reports and evaluations.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "comms/base/status.h"
#include "comms/sitelink/messages.h"
#include "federation/coordinator/job_state.h"

namespace atl::coordinator {
namespace {

constexpr size_t kEvaluationsMax = 4;  // that wait at once; their models are kept

}  // namespace

v1::RoundReport JobState::Close(const SumOutcome& outcome, int64_t now_ms) {
  v1::RoundReport report;
  report.set_round(CurrentRound());
  const std::vector<SiteId>& survivors = attempt_->survivors();
  for (SiteId site : survivors) report.add_participants(site.value());
  for (SiteId site : tally_.asked) {
    if (!std::binary_search(survivors.begin(), survivors.end(), site))
      report.add_dropped(site.value());
  }
  report.set_examples(outcome.examples);
  if (outcome.examples > 0) {
    const auto examples = static_cast<double>(outcome.examples);
    report.set_accuracy(static_cast<double>(outcome.correct) / examples);
    report.set_loss(outcome.loss_sum / examples);
  }
  report.set_saturated(outcome.saturated);
  report.set_clipped(static_cast<uint32_t>(outcome.clipped));
  report.set_scale_range(Range());
  for (const auto& [phase, ms] : attempt_->phase_ms()) tally_.phase_ms[phase] += ms;
  for (const char* phase : {"setup", "train", "mask", "upload", "unmask", "sum"}) {
    const auto at = tally_.phase_ms.find(phase);
    if (at == tally_.phase_ms.end()) continue;
    v1::PhaseSeconds* seconds = report.add_phases();
    seconds->set_phase(phase);
    seconds->set_seconds(static_cast<double>(at->second) / 1000);
  }
  report.set_bytes_up(tally_.bytes_up);
  report.set_bytes_down(tally_.bytes_down);
  report.set_seconds(static_cast<double>(now_ms - tally_.begun_ms) / 1000);
  report.set_attempts(tally_.attempts);
  report.set_mask_hidden_s(tally_.mask_hidden_s);
  report.set_mask_paid_s(tally_.mask_paid_s);
  report.set_groups(attempt_->groups());
  return report;
}

void JobState::Downloaded(const Digest& blob, uint64_t bytes) {
  const auto at = blob_round_.find(blob);
  if (at == blob_round_.end()) return;
  if (at->second <= reports_.size()) {
    v1::RoundReport& report = reports_[at->second - 1];
    report.set_bytes_down(report.bytes_down() + bytes);
  } else {
    tally_.bytes_down += bytes;
  }
}

void JobState::AskEvaluation(uint32_t round, int64_t now_ms, Effects& out) {
  if (!evaluate_ || !evaluator_->ever_connected) return;
  if (evaluating_.size() >= kEvaluationsMax) {
    const Digest model = evaluating_.front().model;
    evaluating_.erase(evaluating_.begin());
    if (!Retained().contains(model)) out.Add(RemoveBlob{model});
  }
  evaluating_.push_back({.round = round, .model = model_, .since_ms = now_ms});
  if (evaluator_->connected) SendEvaluation(evaluating_.back(), out);
}

void JobState::SendEvaluation(Evaluating& evaluating, Effects& out) {
  evaluating.sent = true;
  Send send;
  send.to = kEvaluator;
  auto* evaluate = send.message.mutable_evaluate();
  evaluate->set_job_id(id_.value());
  evaluate->set_round(evaluating.round);
  evaluate->set_model(evaluating.model.data(), evaluating.model.size());
  out.Add(std::move(send));
}

void JobState::EvaluatorConnected(int64_t now_ms, Effects& out) {
  if (!evaluate_ || Ended() || stage_ == Stage::kQueued) return;
  Offer(kEvaluator, out);
  for (Evaluating& evaluating : evaluating_) SendEvaluation(evaluating, out);
}

void JobState::Evaluated(const v1::Evaluation& evaluation, int64_t now_ms, Effects& out) {
  const auto at = std::find_if(evaluating_.begin(), evaluating_.end(),
                               [&](const Evaluating& e) { return e.round == evaluation.round(); });
  if (at == evaluating_.end() || at->round == 0 || at->round > reports_.size()) return;
  v1::RoundReport& report = reports_[at->round - 1];
  report.set_has_test(evaluation.examples() > 0);
  report.set_test_examples(evaluation.examples());
  if (evaluation.examples() > 0) {
    const auto examples = static_cast<double>(evaluation.examples());
    report.set_test_accuracy(static_cast<double>(evaluation.correct()) / examples);
    report.set_test_loss(evaluation.loss_sum() / examples);
  }
  v1::PhaseSeconds* seconds = report.add_phases();
  seconds->set_phase("evaluate");
  seconds->set_seconds(static_cast<double>(now_ms - at->since_ms) / 1000);
  const Digest model = at->model;
  const uint32_t round = at->round;
  evaluating_.erase(at);
  if (!evaluating_.empty())
    evaluating_.front().since_ms = std::max(evaluating_.front().since_ms, now_ms);
  if (!Retained().contains(model)) out.Add(RemoveBlob{model});
  PublishRound(round, out);
  Complete(out);
}

void JobState::GiveUpEvaluation(const std::string& why, int64_t now_ms, Effects& out) {
  if (Ended() || !evaluate_) return;
  evaluate_ = stage_ == Stage::kJudging ? evaluate_ : false;
  out.Note(id_, absl::StrCat("models are not evaluated: ", why));
  const std::vector<Evaluating> given_up = std::exchange(evaluating_, {});
  for (const Evaluating& evaluating : given_up) {
    if (!Retained().contains(evaluating.model)) out.Add(RemoveBlob{evaluating.model});
  }
  Complete(out);
}

std::set<Digest> JobState::Retained() const {
  std::set<Digest> retained = {first_model_, model_, previous_model_, sum_};
  retained.insert(group_sums_.begin(), group_sums_.end());
  for (const Evaluating& evaluating : evaluating_) retained.insert(evaluating.model);
  for (const auto& [round, open] : results_) {
    retained.insert(open.sum);
    for (const auto& [group, sum] : open.checks.sums) retained.insert(sum);
  }
  return retained;
}

v1::JobReport JobState::Report(bool with_rounds) const {
  v1::JobReport report;
  report.set_job_id(id_.value());
  report.set_name(recipe_.name);
  report.set_status(status_);
  report.set_reason(reason_);
  report.set_rounds_completed(rounds_completed_);
  report.set_rounds(static_cast<uint32_t>(recipe_.federation.rounds));
  if (with_rounds) {
    for (const v1::RoundReport& round : reports_) *report.add_round_reports() = round;
  }
  for (const auto& [site, member] : members_) {
    report.add_cohort(site.value());
    if (member.dropped || member.refused) report.add_dropped(site.value());
  }
  report.set_model(model_.data(), model_.size());
  report.set_secure_aggregation(recipe_.secure_aggregation.enabled);
  report.set_value_bits(static_cast<uint32_t>(recipe_.secure_aggregation.value_bits));
  report.set_threshold(threshold_);
  report.set_parameters(parameters_);
  return report;
}

void JobState::PublishStatus(Effects& out) const {
  Publish publish;
  publish.job = id_;
  *publish.event.mutable_status() = Report(false);
  out.Add(std::move(publish));
}

void JobState::PublishRound(uint32_t round, Effects& out) const {
  Publish publish;
  publish.job = id_;
  *publish.event.mutable_round() = reports_[round - 1];
  out.Add(std::move(publish));
}

}  // namespace atl::coordinator

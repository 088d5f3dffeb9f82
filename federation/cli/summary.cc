#include "federation/cli/summary.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "comms/base/clock.h"
#include "federation/cli/progress_view.h"

namespace atl::cli {
namespace {

using Json = nlohmann::ordered_json;

Json RoundJson(const v1::RoundReport& round) {
  Json phases = Json::object();
  for (const v1::PhaseSeconds& phase : round.phases()) phases[phase.phase()] = phase.seconds();
  Json json = {{"round", round.round()},
               {"participants",
                std::vector<uint32_t>(round.participants().begin(), round.participants().end())},
               {"dropped", std::vector<uint32_t>(round.dropped().begin(), round.dropped().end())},
               {"accuracy", round.accuracy()},
               {"loss", round.loss()},
               {"examples", round.examples()},
               {"seconds", round.seconds()},
               {"phases_s", std::move(phases)},
               {"bytes_up", round.bytes_up()},
               {"bytes_down", round.bytes_down()},
               {"attempts", round.attempts()},
               {"saturated", round.saturated()},
               {"clipped", round.clipped()},
               {"scale_range", round.scale_range()},
               {"mask_hidden_s", round.mask_hidden_s()},
               {"mask_paid_s", round.mask_paid_s()},
               {"spot_checked", round.spot_checked()}};
  if (round.groups() > 0) json["groups"] = round.groups();
  if (round.has_test()) {
    json["test_accuracy"] = round.test_accuracy();
    json["test_loss"] = round.test_loss();
  }
  return json;
}

}  // namespace

std::string StatusName(v1::JobStatus status) {
  switch (status) {
    case v1::QUEUED:
      return "queued";
    case v1::RUNNING:
      return "running";
    case v1::COMPLETE:
      return "complete";
    case v1::FAILED:
      return "failed";
    case v1::CANCELLED:
      return "cancelled";
    default:
      return "unknown";
  }
}

Json SummaryJson(const RunOutcome& outcome) {
  const v1::JobReport& job = outcome.job;
  Json json = {{"job", job.name()},
               {"status", StatusName(job.status())},
               {"reason", job.reason()},
               {"folder", outcome.folder},
               {"seconds", outcome.seconds},
               {"parameters", job.parameters()},
               {"rounds_completed", job.rounds_completed()}};
  json["final"] = nullptr;
  if (job.round_reports_size() > 0) {
    const v1::RoundReport& last = job.round_reports(job.round_reports_size() - 1);
    json["final"] = last.has_test() ? Json{{"accuracy", last.test_accuracy()},
                                           {"loss", last.test_loss()},
                                           {"examples", last.test_examples()},
                                           {"from", "public test set"}}
                                    : Json{{"accuracy", last.accuracy()},
                                           {"loss", last.loss()},
                                           {"examples", last.examples()},
                                           {"from", "secure mean of the sites"}};
  }
  json["rounds"] = Json::array();
  for (const v1::RoundReport& round : job.round_reports())
    json["rounds"].push_back(RoundJson(round));
  json["sites"] = Json::array();
  for (const auto& [id, name] : outcome.sites) {
    bool dropped = std::find(job.dropped().begin(), job.dropped().end(), id) != job.dropped().end();
    json["sites"].push_back(Json{{"id", id}, {"name", name}, {"dropped", dropped}});
  }
  json["secure_aggregation"] = {{"enabled", job.secure_aggregation()},
                                {"value_bits", job.value_bits()},
                                {"threshold", job.threshold()},
                                {"cohort", job.cohort_size()}};
  return json;
}

Json MetricsLine(const v1::RoundReport& round, uint32_t rounds, int64_t unix_ms) {
  Json metrics = {{"train/loss", round.loss()}, {"train/accuracy", round.accuracy()}};
  if (round.has_test()) {
    metrics["eval/loss"] = round.test_loss();
    metrics["eval/accuracy"] = round.test_accuracy();
  }
  return {{"t", FormatUtc(unix_ms)},
          {"progress", rounds == 0 ? 100 : 100 * round.round() / rounds},
          {"step", round.round()},
          {"metrics", std::move(metrics)}};
}

std::string SummaryTable(const RunOutcome& outcome) {
  const v1::JobReport& job = outcome.job;
  std::vector<std::pair<std::string, std::string>> rows;
  rows.emplace_back("job", job.name());
  std::string status = StatusName(job.status());
  if (job.status() != v1::COMPLETE && !job.reason().empty()) status += ": " + job.reason();
  rows.emplace_back("status", status);
  rows.emplace_back("rounds", absl::StrFormat("%d of %d in %.1f s", job.rounds_completed(),
                                              job.rounds(), outcome.seconds));
  Json summary = SummaryJson(outcome);
  if (const Json& final = summary["final"]; !final.is_null()) {
    rows.emplace_back(
        "accuracy",
        absl::StrFormat("%.4f, loss %.4f (%s, %d examples)", final["accuracy"].get<double>(),
                        final["loss"].get<double>(), final["from"].get<std::string>(),
                        final["examples"].get<uint64_t>()));
  }
  std::vector<std::string> dropped;
  for (const Json& site : summary["sites"]) {
    if (site["dropped"].get<bool>()) dropped.push_back(site["name"]);
  }
  std::string sites = absl::StrFormat("%d", outcome.sites.size());
  if (!dropped.empty()) sites += ", dropped: " + absl::StrJoin(dropped, ", ");
  rows.emplace_back("sites", sites);
  const uint32_t groups =
      job.round_reports().empty() ? 0 : job.round_reports(job.round_reports_size() - 1).groups();
  const std::string of = groups == 0 ? absl::StrFormat("of %d", job.cohort_size())
                                     : absl::StrFormat("in each of %d groups", groups);
  rows.emplace_back("secure aggregation",
                    job.secure_aggregation()
                        ? absl::StrFormat("on, %d-bit values, threshold %d %s", job.value_bits(),
                                          job.threshold(), of)
                        : "off");
  uint64_t up = 0, down = 0;
  for (const v1::RoundReport& round : job.round_reports()) {
    up += round.bytes_up();
    down += round.bytes_down();
  }
  rows.emplace_back("traffic", absl::StrCat(FormatBytes(up), " up, ", FormatBytes(down), " down"));
  rows.emplace_back("folder", outcome.folder);
  std::string table;
  for (const auto& [key, value] : rows) absl::StrAppendFormat(&table, "  %-18s  %s\n", key, value);
  return table;
}

}  // namespace atl::cli

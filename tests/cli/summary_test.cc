#include "federation/cli/summary.h"

#include "gmock/gmock.h"

namespace atl::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::ordered_json;

v1::RoundReport Round(uint32_t number) {
  v1::RoundReport round;
  round.set_round(number);
  for (uint32_t site : {1, 2, 4}) round.add_participants(site);
  round.add_dropped(3);
  round.set_loss(0.5);
  round.set_accuracy(0.75);
  round.set_examples(3000);
  round.set_bytes_up(1000);
  round.set_bytes_down(2500);
  round.set_seconds(2.5);
  round.set_attempts(2);
  round.set_mask_hidden_s(1.5);
  round.set_mask_paid_s(0.25);
  round.set_spot_checked(12);
  auto* phase = round.add_phases();
  phase->set_phase("train");
  phase->set_seconds(1.25);
  return round;
}

RunOutcome Outcome() {
  RunOutcome outcome;
  outcome.job.set_name("quick");
  outcome.job.set_status(v1::COMPLETE);
  outcome.job.set_rounds(2);
  outcome.job.set_rounds_completed(2);
  outcome.job.set_parameters(1234);
  outcome.job.set_secure_aggregation(true);
  outcome.job.set_value_bits(16);
  outcome.job.set_threshold(3);
  for (uint32_t site : {1, 2, 3, 4}) outcome.job.add_cohort(site);
  outcome.job.add_dropped(3);
  *outcome.job.add_round_reports() = Round(1);
  *outcome.job.add_round_reports() = Round(2);
  outcome.sites = {{1, "alpha"}, {2, "beta"}, {3, "gamma"}, {4, "delta"}};
  outcome.seconds = 12.5;
  outcome.folder = "/runs/quick-1";
  return outcome;
}

TEST(SummaryJsonTest, HasEveryField) {
  RunOutcome outcome = Outcome();
  Json json = SummaryJson(outcome);
  EXPECT_EQ(json["job"], "quick");
  EXPECT_EQ(json["status"], "complete");
  EXPECT_EQ(json["reason"], "");
  EXPECT_EQ(json["folder"], "/runs/quick-1");
  EXPECT_EQ(json["seconds"], 12.5);
  EXPECT_EQ(json["parameters"], 1234);
  EXPECT_EQ(json["rounds_completed"], 2);
  EXPECT_EQ(json["secure_aggregation"],
            Json({{"enabled", true}, {"value_bits", 16}, {"threshold", 3}, {"cohort", 4}}));
  ASSERT_EQ(json["rounds"].size(), 2u);
  EXPECT_EQ(
      json["rounds"][1],
      Json::parse(
          R"({"round": 2, "participants": [1, 2, 4], "dropped": [3], "accuracy": 0.75, "loss": 0.5,
                            "examples": 3000, "seconds": 2.5, "phases_s": {"train": 1.25}, "bytes_up": 1000,
                            "bytes_down": 2500, "attempts": 2, "saturated": 0, "clipped": 0, "scale_range": 0.0,
                            "mask_hidden_s": 1.5,
                            "mask_paid_s": 0.25, "spot_checked": 12})"));
  EXPECT_EQ(json["sites"], Json::parse(R"([{"id": 1, "name": "alpha", "dropped": false},
                                           {"id": 2, "name": "beta", "dropped": false},
                                           {"id": 3, "name": "gamma", "dropped": true},
                                           {"id": 4, "name": "delta", "dropped": false}])"));
  EXPECT_EQ(json["final"], Json::parse(R"({"accuracy": 0.75, "loss": 0.5, "examples": 3000,
                                           "from": "secure mean of the sites"})"));
}

TEST(SummaryJsonTest, FinalIsTheLastRoundsTestWhereItHasOne) {
  RunOutcome outcome = Outcome();
  v1::RoundReport* last = outcome.job.mutable_round_reports(1);
  last->set_has_test(true);
  last->set_test_accuracy(0.8125);
  last->set_test_loss(0.25);
  last->set_test_examples(10000);
  Json json = SummaryJson(outcome);
  EXPECT_EQ(json["final"], Json::parse(R"({"accuracy": 0.8125, "loss": 0.25, "examples": 10000,
                                           "from": "public test set"})"));
  EXPECT_EQ(json["rounds"][1]["test_accuracy"], 0.8125);
  EXPECT_EQ(json["rounds"][1]["test_loss"], 0.25);
  EXPECT_FALSE(json["rounds"][0].contains("test_accuracy"));
}

TEST(SummaryJsonTest, WithoutARoundThereIsNoFinal) {
  RunOutcome outcome = Outcome();
  outcome.job.clear_round_reports();
  outcome.job.set_status(v1::FAILED);
  outcome.job.set_reason("2 of at least 3 sites are left");
  Json json = SummaryJson(outcome);
  EXPECT_TRUE(json["final"].is_null());
  EXPECT_TRUE(json["rounds"].is_array());
  EXPECT_EQ(json["status"], "failed");
  EXPECT_EQ(json["reason"], "2 of at least 3 sites are left");
  EXPECT_THAT(SummaryTable(outcome), Not(HasSubstr("accuracy")));
}

// A diverged model's loss is not a number, and JSON has none: what is printed must still parse.
TEST(SummaryJsonTest, ParsesWithALossThatIsNoNumber) {
  RunOutcome outcome = Outcome();
  outcome.job.mutable_round_reports(1)->set_loss(std::numeric_limits<double>::quiet_NaN());
  outcome.job.mutable_round_reports(0)->set_loss(std::numeric_limits<double>::infinity());
  Json json = Json::parse(SummaryJson(outcome).dump(), nullptr, false);
  ASSERT_TRUE(json.is_object());
  EXPECT_TRUE(json["final"]["loss"].is_null());
  EXPECT_NE(SummaryTable(outcome), "");
}

TEST(SummaryJsonTest, NamesEveryStatus) {
  EXPECT_EQ(StatusName(v1::QUEUED), "queued");
  EXPECT_EQ(StatusName(v1::RUNNING), "running");
  EXPECT_EQ(StatusName(v1::COMPLETE), "complete");
  EXPECT_EQ(StatusName(v1::FAILED), "failed");
  EXPECT_EQ(StatusName(v1::CANCELLED), "cancelled");
  EXPECT_EQ(StatusName(static_cast<v1::JobStatus>(99)), "unknown");
}

TEST(SummaryTableTest, HasARowAFigure) {
  EXPECT_EQ(SummaryTable(Outcome()),
            "  job                 quick\n"
            "  status              complete\n"
            "  rounds              2 of 2 in 12.5 s\n"
            "  accuracy            0.7500, loss 0.5000 (secure mean of the sites, 3000 examples)\n"
            "  sites               4, dropped: gamma\n"
            "  secure aggregation  on, 16-bit values, threshold 3 of 4\n"
            "  traffic             2.0 kB up, 5.0 kB down\n"
            "  folder              /runs/quick-1\n");
}

TEST(SummaryTableTest, SaysWhyAJobFailed) {
  RunOutcome outcome = Outcome();
  outcome.job.set_status(v1::CANCELLED);
  outcome.job.set_reason("interrupted");
  outcome.job.clear_dropped();
  outcome.job.set_secure_aggregation(false);
  std::string table = SummaryTable(outcome);
  EXPECT_THAT(table, HasSubstr("cancelled: interrupted\n"));
  EXPECT_THAT(table, HasSubstr("sites               4\n"));
  EXPECT_THAT(table, HasSubstr("secure aggregation  off\n"));
}

TEST(MetricsLineTest, HasTimeProgressStepAndMetrics) {
  v1::RoundReport round = Round(1);
  EXPECT_EQ(MetricsLine(round, 4, 0),
            Json::parse(R"({"t": "1970-01-01T00:00:00.000Z", "progress": 25, "step": 1,
                            "metrics": {"train/loss": 0.5, "train/accuracy": 0.75}})"));
  round.set_has_test(true);
  round.set_test_accuracy(0.8);
  round.set_test_loss(0.25);
  Json line = MetricsLine(round, 3, 0);
  EXPECT_EQ(line["progress"], 33);
  EXPECT_EQ(line["metrics"]["eval/accuracy"], 0.8);
  EXPECT_EQ(line["metrics"]["eval/loss"], 0.25);
  EXPECT_EQ(MetricsLine(round, 0, 0)["progress"], 100);
  EXPECT_EQ(line.dump().find('\n'), std::string::npos);
}

}  // namespace
}  // namespace atl::cli

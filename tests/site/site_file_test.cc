#include "comms/base/files.h"
#include "federation/site/site_main.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace atl::site {
namespace {

using testing::HasSubstr;

class SiteFileTest : public testing::Test {
 protected:
  SiteFileTest() : folder_(*TemporaryFolder::Create("atoll-site-file")) {}
  absl::Status Load(std::string_view text) {
    EXPECT_TRUE(WriteFileAtomic(file(), AsBytes(text)).ok());
    return LoadSiteFile(file(), options_);
  }
  std::filesystem::path file() const { return folder_.path() / "site.yaml"; }

  TemporaryFolder folder_;
  SiteOptions options_;
};

TEST_F(SiteFileTest, ReadsEveryKey) {
  const absl::Status status = Load(R"(
coordinator: 127.0.0.1:7700
data_folder: data
log_folder: /var/log/atoll
identity: identity.key
roster: roster.json
operator_key: "0123"
site_id: 4
role: evaluator
trainer: /opt/atoll-trainer
cpus: 2.5
memory: 16
relaunch_limit: 0
trainer_start_timeout_s: 5
log: {level: debug, json: true, file: site.log}
floors:
  cohort_min: 5
  allow_two_of_three: true
  allow_two_sites: true
  allow_plain: true
  weight_max: 1000
  clip_norm_l2_max: 2.5
  cohort_distance_min: 4
  allow_difference_of_one: true
)");
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(options_.coordinator, "127.0.0.1:7700");
  EXPECT_EQ(options_.data_folder, folder_.path() / "data");
  EXPECT_EQ(options_.log_folder, "/var/log/atoll");
  EXPECT_EQ(options_.identity_file, folder_.path() / "identity.key");
  EXPECT_EQ(options_.roster_file, folder_.path() / "roster.json");
  EXPECT_EQ(options_.operator_key, "0123");
  EXPECT_EQ(options_.site_id, 4u);
  EXPECT_EQ(options_.role, Role::kEvaluator);
  EXPECT_EQ(options_.trainer, "/opt/atoll-trainer");
  EXPECT_EQ(options_.cpus, 2.5);
  EXPECT_EQ(options_.memory_gb, 16);
  EXPECT_EQ(options_.relaunch_limit, 0);
  EXPECT_EQ(options_.trainer_start_timeout_s, 5);
  EXPECT_EQ(options_.log.level, "debug");
  EXPECT_TRUE(options_.log.json);
  EXPECT_EQ(options_.log.file, (folder_.path() / "site.log").string());
  EXPECT_EQ(options_.floors.cohort_min, 5u);
  EXPECT_TRUE(options_.floors.allow_two_of_three);
  EXPECT_TRUE(options_.floors.allow_two_sites);
  EXPECT_TRUE(options_.floors.allow_plain);
  EXPECT_EQ(options_.floors.weight_max, 1000u);
  EXPECT_EQ(options_.floors.clip_norm_l2_max, 2.5);
  EXPECT_EQ(options_.floors.cohorts.distance_min, 4u);
  EXPECT_TRUE(options_.floors.cohorts.allow_difference_of_one);
}

TEST_F(SiteFileTest, AnEmptyFileChangesNothing) {
  options_.site_id = 3;
  EXPECT_TRUE(Load("").ok());
  EXPECT_TRUE(Load("floors:\n").ok());
  EXPECT_EQ(options_.site_id, 3u);
}

TEST_F(SiteFileTest, ReportsEveryMistakeWithItsLine) {
  options_.site_id = 3;
  const absl::Status status = Load(R"(site_id: 9
floors:
  cohort_mim: 3
  allow_plain: perhaps
  weight_max: 0
cpus: -1
site_id: 10
log: loud
role: boss
)");
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  const std::string text(status.message());
  for (const char* mistake :
       {":3: floors.cohort_mim: unknown key; did you mean floors.cohort_min?",
        ":4: floors.allow_plain: perhaps must be true or false",
        ":5: floors.weight_max: 0 must be a whole number from 1",
        ":6: cpus: -1 must be a number > 0", ":7: site_id: stands twice", ":8: log: must be a map",
        ":9: role: boss must be site or evaluator"}) {
    EXPECT_THAT(text, HasSubstr(mistake));
  }
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 6);
  EXPECT_EQ(options_.site_id, 3u) << "a file with mistakes changes nothing";
}

TEST_F(SiteFileTest, ReportsWhatIsNoYamlAndWhatIsNotThere) {
  EXPECT_THAT(std::string(Load("a: [1,\nb").message()), HasSubstr("site.yaml:"));
  EXPECT_THAT(std::string(Load("- 1\n").message()), HasSubstr("must be a map"));
  EXPECT_TRUE(absl::IsNotFound(LoadSiteFile(folder_.path() / "other.yaml", options_)));
}

}  // namespace
}  // namespace atl::site

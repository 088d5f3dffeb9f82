#include "comms/base/status.h"

#include <unordered_set>

#include "comms/base/clock.h"
#include "comms/base/ids.h"
#include "gmock/gmock.h"

namespace atl {
namespace {

TEST(Status, AnnotatesErrorsAndKeepsCodeAndPayload) {
  EXPECT_TRUE(Annotate(absl::OkStatus(), "anything").ok());
  absl::Status status = absl::NotFoundError("no such site: 7");
  status.SetPayload("type", absl::Cord("payload"));
  const absl::Status annotated = Annotate(status, "roster.yaml");
  EXPECT_EQ(annotated.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(annotated.message(), "roster.yaml: no such site: 7");
  EXPECT_EQ(annotated.GetPayload("type"), absl::Cord("payload"));
  EXPECT_EQ(ToString(annotated), "NOT_FOUND: roster.yaml: no such site: 7");
  EXPECT_EQ(ToString(absl::OkStatus()), "OK");
}

absl::StatusOr<int> Half(int x) {
  if (x % 2 != 0) return absl::InvalidArgumentError("odd");
  return x / 2;
}

absl::StatusOr<int> Quarter(int x) {
  ATOLL_ASSIGN_OR_RETURN(const int half, Half(x));
  ATOLL_ASSIGN_OR_RETURN(const int quarter, Half(half));
  ATOLL_RETURN_IF_ERROR(Half(quarter * 2).status());
  return quarter;
}

TEST(Status, MacrosReturnTheFirstError) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(6).status(), absl::InvalidArgumentError("odd"));
}

TEST(Ids, AreComparableAndHashable) {
  EXPECT_LT(SiteId(1), SiteId(2));
  EXPECT_EQ(std::unordered_set<SiteId>({SiteId(1), SiteId(1), SiteId(2)}).size(), 2u);
  static_assert(!std::is_convertible_v<SiteId, RoundId>);
  static_assert(!std::is_convertible_v<uint32_t, SiteId>);
}

TEST(Clock, FormatsUtc) {
  EXPECT_EQ(FormatUtc(0), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(FormatUtc(1'700'000'000'123), "2023-11-14T22:13:20.123Z");
  EXPECT_EQ(FormatUtc(1'709'251'199'999), "2024-02-29T23:59:59.999Z");
  EXPECT_EQ(FormatUtc(-1), "1969-12-31T23:59:59.999Z");
}

TEST(Clock, RealClockMovesAndSimulatedClockMovesOnlyWhenTold) {
  const int64_t before = RealClock().NowMs();
  EXPECT_GE(RealClock().NowMs(), before);
  EXPECT_GT(RealClock().UnixMs(), 1'700'000'000'000);
  SimulatedClock clock;
  const int64_t start = clock.NowMs();
  const int64_t start_unix = clock.UnixMs();
  EXPECT_EQ(clock.NowMs(), start);
  clock.AdvanceMs(1500);
  EXPECT_EQ(clock.NowMs(), start + 1500);
  EXPECT_EQ(clock.UnixMs(), start_unix + 1500);
}

}  // namespace
}  // namespace atl

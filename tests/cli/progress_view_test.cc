#include "federation/cli/progress_view.h"

#include <fcntl.h>
#include <pty.h>
#include <unistd.h>

#include <memory>

#include "comms/base/random.h"
#include "gmock/gmock.h"
#include "tests/cli/screen.h"

namespace atl::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

v1::RoundReport Round(uint32_t number) {
  v1::RoundReport round;
  round.set_round(number);
  for (uint32_t site : {1, 2, 3}) round.add_participants(site);
  round.set_loss(0.5);
  round.set_accuracy(0.75);
  round.set_bytes_up(3'100'000);
  round.set_bytes_down(999);
  round.set_seconds(2.26);
  round.set_attempts(1);
  return round;
}

v1::RoundReport Tested(uint32_t number) {
  v1::RoundReport round = Round(number);
  round.set_has_test(true);
  round.set_test_accuracy(0.8125);
  return round;
}

v1::SiteProgressReport At(const std::string& site, const std::string& phase, uint32_t step,
                          uint32_t steps) {
  v1::SiteProgressReport report;
  report.set_site_name(site);
  report.mutable_progress()->set_round(1);
  report.mutable_progress()->set_phase(phase);
  report.mutable_progress()->set_step(step);
  report.mutable_progress()->set_steps(steps);
  return report;
}

v1::JobReport Status(v1::JobStatus status, const std::string& reason) {
  v1::JobReport job;
  job.set_status(status);
  job.set_reason(reason);
  job.set_rounds(12);
  return job;
}

class TemporaryOutput {
 public:
  TemporaryOutput() : file_(std::tmpfile()) {}
  ~TemporaryOutput() { std::fclose(file_); }
  std::FILE* file() { return file_; }
  std::string Text() {
    std::fflush(file_);
    std::string text(static_cast<size_t>(std::ftell(file_)), '\0');
    std::rewind(file_);
    EXPECT_EQ(std::fread(text.data(), 1, text.size(), file_), text.size());
    return text;
  }
  // What a terminal of so many columns shows after all of it.
  std::vector<std::string> Shown(size_t columns = 200) {
    Screen screen(columns);
    screen.Write(Text());
    EXPECT_EQ(screen.problem, "");
    EXPECT_TRUE(screen.wraps) << "the terminal is left without line wrapping";
    return screen.lines;
  }

 private:
  std::FILE* file_;
};

TEST(FormatBytesTest, ChoosesTheUnit) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(1000), "1.0 kB");
  EXPECT_EQ(FormatBytes(3'140'000), "3.1 MB");
  EXPECT_EQ(FormatBytes(999'949), "999.9 kB");
  EXPECT_EQ(FormatBytes(999'951), "1.0 MB");
  EXPECT_EQ(FormatBytes(12'000'000'000), "12.0 GB");
  EXPECT_EQ(FormatBytes(UINT64_MAX), "18446744.1 TB");
}

TEST(FormatRoundTest, HasParticipantsMeansBytesAndSeconds) {
  EXPECT_EQ(FormatRound(Round(3), 12),
            "round  3/12  3 sites  loss 0.5000  accuracy 0.7500  up 3.1 MB  down 999 B  2.3 s");
}

TEST(FormatRoundTest, AddsTestPhasesDroppedAndAttempts) {
  v1::RoundReport round = Tested(12);
  auto* phase = round.add_phases();
  phase->set_phase("train");
  phase->set_seconds(1.44);
  phase = round.add_phases();
  phase->set_phase("upload");
  phase->set_seconds(0.06);
  round.add_dropped(4);
  round.add_dropped(7);
  round.set_attempts(2);
  EXPECT_EQ(FormatRound(round, 12),
            "round 12/12  3 sites  loss 0.5000  accuracy 0.7500  test 0.8125  up 3.1 MB  down 999 "
            "B  2.3 s "
            "(train 1.4, upload 0.1)  dropped: site 4, 7  attempts: 2");
}

TEST(FormatRoundTest, SaysWhichMasksWereMadeAhead) {
  v1::RoundReport round = Round(3);
  auto* phase = round.add_phases();
  phase->set_phase("mask");
  phase->set_seconds(0.02);
  round.set_mask_hidden_s(0.04);
  EXPECT_THAT(FormatRound(round, 12), Not(HasSubstr("mask")));
  round.set_mask_hidden_s(1.26);
  EXPECT_THAT(FormatRound(round, 12), HasSubstr("2.3 s (mask 0.0 and 1.3 ahead)"));
}

TEST(FormatSiteTest, BarFillsWithTheSteps) {
  EXPECT_EQ(FormatSite(At("site-1", "train", 0, 8), 8),
            "  site-1    round 1  train     [....................] step 0/8");
  EXPECT_THAT(FormatSite(At("site-1", "train", 4, 8), 6),
              HasSubstr("[##########..........] step 4/8"));
  EXPECT_THAT(FormatSite(At("site-1", "train", 8, 8), 6),
              HasSubstr("[####################] step 8/8"));
  v1::SiteProgressReport fast = At("site-1", "train", 4, 8);
  fast.mutable_progress()->set_examples_per_s(12345.6);
  EXPECT_THAT(FormatSite(fast, 6), HasSubstr("step 4/8  12346 examples/s"));
}

TEST(FormatSiteTest, AStepBeyondTheLastOneDoesNotOverflowTheBar) {
  EXPECT_THAT(FormatSite(At("s", "train", UINT32_MAX, 3), 1),
              HasSubstr("[####################] step"));
  EXPECT_THAT(FormatSite(At("s", "train", UINT32_MAX, UINT32_MAX), 1),
              HasSubstr("[####################]"));
  EXPECT_THAT(FormatSite(At("s", "upload", 5, 0), 1), Not(HasSubstr("[")));
}

TEST(ViewKindTest, LiveOnATerminalOnly) {
  TemporaryOutput file;
  EXPECT_EQ(ViewKindFor(file.file(), false), ViewKind::kPlain);
  EXPECT_EQ(ViewKindFor(file.file(), true), ViewKind::kQuiet);
  int master = -1, slave = -1;
  ASSERT_EQ(openpty(&master, &slave, nullptr, nullptr, nullptr), 0);
  std::FILE* terminal = fdopen(slave, "w");
  EXPECT_EQ(ViewKindFor(terminal, false), ViewKind::kLive);
  EXPECT_EQ(ViewKindFor(terminal, true), ViewKind::kQuiet);
  std::fclose(terminal);
  close(master);
}

TEST(ProgressViewTest, PlainPrintsALineARoundAndNoControlSequence) {
  TemporaryOutput out;
  ProgressView view(out.file(), ViewKind::kPlain, /*waits_for_test=*/false);
  view.OnStatus(Status(v1::QUEUED, "waits for 1 more site"));
  view.OnStatus(Status(v1::QUEUED, "waits for 1 more site"));  // said once
  view.OnStatus(Status(v1::RUNNING, ""));
  view.OnProgress(At("site-1", "train", 1, 2));
  view.Tick();
  view.OnRound(Round(1));
  view.OnRound(Round(1));
  view.OnNote("site-2 is dropped");
  view.Tick();
  view.OnRound(Round(2));
  view.Finish();
  std::string text = out.Text();
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_EQ(text, "waits for 1 more site\n" + FormatRound(Round(1), 12) + "\nsite-2 is dropped\n" +
                      FormatRound(Round(2), 12) + "\n");
}

TEST(ProgressViewTest, AReasonComesAgainAfterAnother) {
  TemporaryOutput out;
  ProgressView view(out.file(), ViewKind::kPlain, false);
  for (const char* reason : {"a", "b", "a", ""}) view.OnStatus(Status(v1::RUNNING, reason));
  view.OnStatus(Status(v1::FAILED, "the summary says why"));
  EXPECT_EQ(out.Text(), "a\nb\na\n");
}

TEST(ProgressViewTest, QuietPrintsNothing) {
  TemporaryOutput out;
  ProgressView view(out.file(), ViewKind::kQuiet, false);
  view.OnStatus(Status(v1::RUNNING, "waits"));
  view.OnProgress(At("site-1", "train", 1, 2));
  view.OnRound(Round(1));
  view.OnNote("note");
  view.Tick();
  view.Finish();
  EXPECT_EQ(out.Text(), "");
}

TEST(ProgressViewTest, ARoundWaitsForItsTest) {
  TemporaryOutput out;
  ProgressView view(out.file(), ViewKind::kPlain, /*waits_for_test=*/true);
  view.OnStatus(Status(v1::RUNNING, ""));
  view.OnRound(Round(1));
  EXPECT_EQ(out.Text(), "");
  view.OnRound(Tested(1));
  EXPECT_THAT(out.Text(), HasSubstr("test 0.8125"));
  view.OnRound(Tested(1));  // it is printed: not again
  view.OnRound(Round(2));
  view.OnRound(Round(3));  // round 2 waits no longer
  view.Finish();           // nor round 3
  EXPECT_EQ(out.Text(), FormatRound(Tested(1), 12) + "\n" + FormatRound(Round(2), 12) + "\n" +
                            FormatRound(Round(3), 12) + "\n");
}

TEST(ProgressViewTest, LiveRedrawsOneLineASiteBelowTheRounds) {
  TemporaryOutput out;
  ProgressView view(out.file(), ViewKind::kLive, false);
  view.OnStatus(Status(v1::RUNNING, ""));
  view.OnProgress(At("site-10", "train", 1, 2));
  view.OnProgress(At("site-2", "launch", 0, 0));
  view.Tick();
  view.Tick();
  EXPECT_THAT(out.Shown(), ElementsAre(FormatSite(At("site-10", "train", 1, 2), 7),
                                       FormatSite(At("site-2", "launch", 0, 0), 7)));
  view.OnRound(Round(1));
  view.OnProgress(At("site-2", "train", 2, 2));
  view.Tick();
  EXPECT_THAT(out.Shown(),
              ElementsAre(FormatRound(Round(1), 12), FormatSite(At("site-10", "train", 1, 2), 7),
                          FormatSite(At("site-2", "train", 2, 2), 7)));
  view.Finish();
  EXPECT_THAT(out.Shown(), ElementsAre(FormatRound(Round(1), 12)));
}

TEST(ProgressViewTest, LiveLinesAreCutAtANarrowTerminalsEdge) {
  TemporaryOutput out;
  ProgressView view(out.file(), ViewKind::kLive, false);
  view.OnProgress(At("site-1", "train", 1, 2));
  view.OnProgress(At("site-2", "train", 1, 2));
  for (int i = 0; i < 3; ++i) view.Tick();
  EXPECT_EQ(out.Shown(30).size(), 2u);
  view.Finish();
  EXPECT_THAT(out.Shown(30), ElementsAre());
}

// Whatever happens in whatever order: what stays on the screen are the lines that a plain view
// prints.
TEST(ProgressViewTest, ATraceIsPrintedAlsoWhereTheRestIsQuiet) {
  v1::TraceReport trace;
  trace.set_from("site-2");
  trace.set_to("coordinator");
  trace.set_round(1);
  trace.set_slot(3);
  trace.set_title("R1 ready");
  trace.set_summary("signature 0123");
  trace.set_bytes(69);
  EXPECT_EQ(FormatTrace(trace, 1250),
            "   1.250 s  round 1 slot 3  site-2 -> coordinator     R1 ready            69 B  "
            "signature 0123");
  TemporaryOutput out;
  ProgressView view(out.file(), ViewKind::kQuiet, true);
  view.OnTrace(trace, 5000);
  view.OnTrace(trace, 5125);
  const std::string text = out.Text();
  EXPECT_THAT(text, HasSubstr("   0.000 s  round 1"));
  EXPECT_THAT(text, HasSubstr("   0.125 s  round 1"));
}

TEST(ProgressViewTest, LiveLeavesWhatPlainPrints) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    SeededRandom random({.seed = seed, .label = "live view test"});
    TemporaryOutput live_out, plain_out;
    const bool test = random.Below(2) == 0;
    ProgressView live(live_out.file(), ViewKind::kLive, test),
        plain(plain_out.file(), ViewKind::kPlain, test);
    uint32_t round = 0;
    for (uint64_t steps = random.Below(60); steps > 0; --steps) {
      const uint64_t what = random.Below(5);
      const std::string text = "text " + std::to_string(random.Below(3));
      if (what == 0 && round < 12) ++round;
      const v1::RoundReport report = random.Below(2) == 0 ? Round(round) : Tested(round);
      for (ProgressView* view : {&live, &plain}) {
        if (what == 0) view->OnRound(report);
        if (what == 1) view->OnProgress(At("site-" + text.substr(5), "train", round, 12));
        if (what == 2) view->OnNote(text);
        if (what == 3) view->OnStatus(Status(v1::RUNNING, text));
        if (what == 4) view->Tick();
      }
    }
    live.Finish();
    plain.Finish();
    ASSERT_EQ(live_out.Shown(), plain_out.Shown());
  }
}

}  // namespace
}  // namespace atl::cli

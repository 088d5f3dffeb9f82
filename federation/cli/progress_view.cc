#include "federation/cli/progress_view.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace atl::cli {

std::string FormatBytes(uint64_t bytes) {
  if (bytes < 1000) return absl::StrFormat("%d B", bytes);
  const char* const units[] = {"kB", "MB", "GB", "TB"};
  double value = bytes / 1000.0;
  int unit = 0;
  for (; value >= 999.95 && unit < 3; ++unit) value /= 1000;
  return absl::StrFormat("%.1f %s", value, units[unit]);
}

std::string FormatRound(const v1::RoundReport& round, uint32_t rounds) {
  std::string line =
      absl::StrFormat("round %*d/%d  %d sites  loss %.4f  accuracy %.4f",
                      static_cast<int>(std::to_string(rounds).size()), round.round(), rounds,
                      round.participants_size(), round.loss(), round.accuracy());
  if (round.has_test()) absl::StrAppendFormat(&line, "  test %.4f", round.test_accuracy());
  absl::StrAppendFormat(&line, "  up %s  down %s  %.1f s", FormatBytes(round.bytes_up()),
                        FormatBytes(round.bytes_down()), round.seconds());
  std::vector<std::string> phases;
  for (const v1::PhaseSeconds& phase : round.phases()) {
    const bool ahead = phase.phase() == "mask" && round.mask_hidden_s() >= 0.05;
    if (phase.seconds() < 0.05 && !ahead) continue;  // would read 0.0
    phases.push_back(absl::StrFormat("%s %.1f", phase.phase(), phase.seconds()));
    if (ahead) absl::StrAppendFormat(&phases.back(), " and %.1f ahead", round.mask_hidden_s());
  }
  if (!phases.empty()) absl::StrAppend(&line, " (", absl::StrJoin(phases, ", "), ")");
  if (round.dropped_size() > 0)
    absl::StrAppend(&line, "  dropped: site ", absl::StrJoin(round.dropped(), ", "));
  if (round.clipped() > 0) absl::StrAppendFormat(&line, "  clipped: %d sites", round.clipped());
  if (round.saturated() > 0) absl::StrAppendFormat(&line, "  saturated: %d", round.saturated());
  if (round.attempts() > 1) absl::StrAppendFormat(&line, "  attempts: %d", round.attempts());
  return line;
}

std::string FormatSite(const v1::SiteProgressReport& site, int name_width) {
  const v1::SiteProgress& progress = site.progress();
  std::string line = absl::StrFormat("  %-*s  round %d  %-8s", name_width, site.site_name(),
                                     progress.round(), progress.phase());
  if (progress.steps() > 0) {
    constexpr int kWidth = 20;
    int filled = static_cast<int>(uint64_t{kWidth} * std::min(progress.step(), progress.steps()) /
                                  progress.steps());
    absl::StrAppendFormat(&line, "  [%s%s] step %d/%d", std::string(filled, '#'),
                          std::string(kWidth - filled, '.'), progress.step(), progress.steps());
  }
  if (progress.examples_per_s() > 0)
    absl::StrAppendFormat(&line, "  %.0f examples/s", progress.examples_per_s());
  return line;
}

std::string FormatTrace(const v1::TraceReport& trace, int64_t ms) {
  const std::string where = trace.round() > 0
                                ? absl::StrFormat("round %d slot %d", trace.round(), trace.slot())
                                : absl::StrFormat("slot %d", trace.slot());
  std::string line = absl::StrFormat("%8.3f s  %-14s  %-24s  %-14s  %8s", ms / 1000.0, where,
                                     absl::StrCat(trace.from(), " -> ", trace.to()), trace.title(),
                                     FormatBytes(trace.bytes()));
  if (!trace.summary().empty()) absl::StrAppend(&line, "  ", trace.summary());
  return line;
}

ViewKind ViewKindFor(std::FILE* out, bool quiet) {
  if (quiet) return ViewKind::kQuiet;
  return isatty(fileno(out)) ? ViewKind::kLive : ViewKind::kPlain;
}

void ProgressView::Print(const std::string& line) {
  if (kind_ == ViewKind::kQuiet) return;
  Erase();
  std::fprintf(out_, "%s\n", line.c_str());
  std::fflush(out_);
}

void ProgressView::Erase() {
  if (drawn_lines_ > 0) std::fprintf(out_, "\x1b[%dA\x1b[J", drawn_lines_);
  drawn_lines_ = 0;
}

void ProgressView::Flush(uint32_t before_round) {
  while (!pending_.empty() && pending_.begin()->first < before_round) {
    printed_ = pending_.begin()->first;
    Print(FormatRound(pending_.begin()->second, rounds_));
    pending_.erase(pending_.begin());
  }
}

void ProgressView::OnStatus(const v1::JobReport& job) {
  rounds_ = job.rounds();
  if (job.status() != v1::QUEUED && job.status() != v1::RUNNING) return;
  if (job.reason() != waiting_reason_) {
    waiting_reason_ = job.reason();
    if (!waiting_reason_.empty()) Print(waiting_reason_);
  }
}

void ProgressView::OnRound(const v1::RoundReport& round) {
  if (round.round() <= printed_) return;
  pending_[round.round()] = round;
  Flush(round.round());
  if (!test_ || round.has_test()) Flush(round.round() + 1);
}

void ProgressView::OnProgress(const v1::SiteProgressReport& site) {
  sites_[site.site_name()] = site;
}

void ProgressView::OnNote(const std::string& note) { Print(note); }

void ProgressView::OnTrace(const v1::TraceReport& trace, int64_t unix_ms) {
  if (trace_start_ms_ == 0) trace_start_ms_ = unix_ms;
  Erase();
  // Also where the rest is quiet: it was asked for.
  std::fprintf(out_, "%s\n", FormatTrace(trace, unix_ms - trace_start_ms_).c_str());
  std::fflush(out_);
}

void ProgressView::Tick() {
  if (kind_ != ViewKind::kLive) return;
  Erase();
  size_t width = 0;
  for (const auto& [name, site] : sites_) width = std::max(width, name.size());
  for (const auto& [name, site] : sites_) {
    // \x1b[?7l: a line longer than the terminal is cut instead of wrapped, which would upset the
    // count of lines.
    std::fprintf(out_, "\x1b[?7l%s\x1b[?7h\n", FormatSite(site, static_cast<int>(width)).c_str());
    ++drawn_lines_;
  }
  std::fflush(out_);
}

void ProgressView::Finish() {
  Flush(UINT32_MAX);
  Erase();
  if (kind_ == ViewKind::kLive) std::fflush(out_);
}

}  // namespace atl::cli

// What a person sees while a job runs: one line a finished round, one a site now at work.
#pragma once

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "comms/rpc/atoll.pb.h"

namespace atl::cli {

// "3.1 MB".
std::string FormatBytes(uint64_t bytes);
// One line for a finished round: participants, secure means, test figures, bytes, seconds by phase.
std::string FormatRound(const v1::RoundReport& round, uint32_t rounds);
// One line for a site at work: phase, bar of steps, examples a second.
std::string FormatSite(const v1::SiteProgressReport& site, int name_width);

enum class ViewKind { kLive, kPlain, kQuiet };
// One line for a message of the protocol, `ms` after the first one.
std::string FormatTrace(const v1::TraceReport& trace, int64_t ms);
// Live on a terminal, plain lines elsewhere.
ViewKind ViewKindFor(std::FILE* out, bool quiet);

// Draws on `out`. Not thread-safe. A round's line waits for its test figures (when the recipe has a
// test) until the next round is over or Finish() is called.
class ProgressView {
 public:
  ProgressView(std::FILE* out, ViewKind kind, bool waits_for_test)
      : out_(out), kind_(kind), test_(waits_for_test) {}

  void OnStatus(const v1::JobReport& job);
  void OnRound(const v1::RoundReport& round);
  void OnProgress(const v1::SiteProgressReport& site);
  void OnNote(const std::string& note);
  void OnTrace(const v1::TraceReport& trace, int64_t unix_ms);
  void Tick();    // redraws the live lines; call about ten times a second
  void Finish();  // prints what waits and removes the live lines

 private:
  void Print(const std::string& line);
  void Flush(uint32_t before_round);
  void Erase();

  std::FILE* out_;
  ViewKind kind_;
  bool test_;
  uint32_t rounds_ = 0;
  std::string waiting_reason_;
  int64_t trace_start_ms_ = 0;
  std::map<uint32_t, v1::RoundReport> pending_;
  uint32_t printed_ = 0;  // rounds up to here have their line
  std::map<std::string, v1::SiteProgressReport> sites_;
  int drawn_lines_ = 0;
};

}  // namespace atl::cli
